// Search shows a few words of each page it finds by fetching that page, which browsers refuse for files on disk.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
