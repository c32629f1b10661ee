"""What every room may use: files, options, paths, progress, seeds. Nothing here knows images."""
