from protocols.buffer import ReceiveBuffer


def test_the_oldest_bytes_go_and_are_counted():
    buffer = ReceiveBuffer(4)
    buffer.feed(b"abcdef")
    assert (bytes(buffer.data), buffer.skipped) == (b"cdef", 2)
    assert buffer.take(2) == b"cd"
    buffer.skip(5)
    assert (bytes(buffer.data), buffer.skipped) == (b"", 4)


def test_fillers_are_no_garbage():
    buffer = ReceiveBuffer(9)
    buffer.feed(b"\xfe\xfe\x01h")
    buffer.skip(3, 0xFE)
    assert (bytes(buffer.data), buffer.skipped) == (b"h", 1)
