"""A print that fails ends nothing."""

import io

from bilp_core.utils.printing import Steady


class Full(io.StringIO):
    def write(self, text):
        raise OSError(28, "No space left on device")


def test_the_first_failure_is_remembered_and_the_rest_goes_nowhere():
    stream = Steady(Full())
    print("a", "b", file=stream, flush=True)
    print("c", file=stream)
    assert stream.failure.errno == 28


def test_a_closed_stream_and_none():
    closed = io.StringIO()
    closed.close()
    for stream in (Steady(closed), Steady(None)):
        print("a", file=stream, flush=True)


def test_what_cannot_be_encoded_is_escaped():
    for encoding, written in (("utf-8", "é \\udce9"), ("ascii", "\\xe9 \\udce9")):
        page = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        stream = Steady(page)
        print("é \udce9", file=stream, flush=True)
        assert stream.failure is None
        assert page.buffer.getvalue().decode() == f"{written}\n"


def test_the_rest_is_that_of_the_stream():
    stream = io.StringIO()
    Steady(stream).writelines(["a", "b"])
    assert stream.getvalue() == "ab"
    assert not Steady(stream).isatty()
