"""The file being read: bounded reads by offset, every failure a TraceError with the place."""

from __future__ import annotations

import os
import struct

from fputrace.errors import FormatError, ReadError


class Source:
    """An open file descriptor, its name and the size it had when it was opened.

    Reads use ``pread``: a file that shrinks meanwhile is a :class:`ReadError`, never a signal.
    """

    def __init__(self, fd: int, path: str) -> None:
        self.fd = fd
        self.path = path
        self.size = os.fstat(fd).st_size

    def read(self, offset: int, length: int, what: str) -> bytes:
        """Exactly `length` bytes at `offset`, which is checked against the size first.

        Raises FormatError when that lies outside the file, ReadError when the system refuses or
        the file has shrunk.
        """
        if offset < 0 or length < 0 or offset + length > self.size:
            raise FormatError(
                f"{what}: expected {length} bytes here, but the file has {self.size} bytes",
                path=self.path,
                offset=offset,
                hint="The file is truncated or damaged; copy it again from where it was recorded.",
            )
        return self.read_known(offset, length, what)

    def read_known(self, offset: int, length: int, what: str) -> bytes:
        """As :meth:`read`, for a range that was inside the file when it was opened."""
        try:
            data = os.pread(self.fd, length, offset)
            while len(data) < length:
                more = os.pread(self.fd, length - len(data), offset + len(data))
                if not more:
                    raise ReadError(
                        f"{what}: the file ends here now; it has shrunk while it was being read",
                        path=self.path,
                        offset=offset + len(data),
                        hint="Analyse it again when nothing writes to it.",
                    )
                data += more
        except (OSError, ValueError) as error:
            raise ReadError(f"{what}: {error}", path=self.path, offset=offset) from error
        return data

    def read_into(self, room: memoryview, offset: int, what: str) -> None:
        """Fill `room` with `what` stands at `offset`, inside the file when it was opened.

        Raises ReadError as :meth:`read_known` does.
        """
        try:
            done = os.preadv(self.fd, [room], offset)
        except (OSError, ValueError) as error:
            raise ReadError(f"{what}: {error}", path=self.path, offset=offset) from error
        if done < len(room):
            room[done:] = self.read_known(offset + done, len(room) - done, what)

    def close(self) -> None:
        """Close the descriptor; further reads fail."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Cursor:
    """Reads a :class:`Source`, or bytes that stand at `base` in it, from front to back.

    `limit` is the offset behind the last byte that may be read.
    """

    def __init__(
        self, source: Source, at: int, big: bool, data: bytes | None = None, base: int = 0
    ) -> None:
        self.source = source
        self.at = at
        self.data = data
        self.base = base
        self.order = ">" if big else "<"

    def take(self, length: int, what: str) -> bytes:
        """The next `length` bytes; FormatError when there are fewer."""
        if self.data is None:
            taken = self.source.read(self.at, length, what)
        else:
            taken = self.data[self.at : self.at + length]
            if length < 0 or len(taken) < length:
                raise FormatError(
                    f"{what}: expected {length} bytes at byte {self.at} of this block, "
                    f"which has {len(self.data)}",
                    path=self.source.path,
                    offset=self.base,
                )
        self.at += length
        return taken

    def u16(self, what: str) -> int:
        """Unsigned 16-bit integer."""
        return int(struct.unpack(self.order + "H", self.take(2, what))[0])

    def u32(self, what: str) -> int:
        """Unsigned 32-bit integer."""
        return int(struct.unpack(self.order + "I", self.take(4, what))[0])

    def u64(self, what: str) -> int:
        """Unsigned 64-bit integer."""
        return int(struct.unpack(self.order + "Q", self.take(8, what))[0])

    def string(self, what: str, most: int = 4096) -> bytes:
        """Bytes up to a NUL, which is skipped; FormatError when none comes within `most`."""
        if self.data is None:
            room = max(0, min(most, self.source.size - self.at))
            head = self.source.read(self.at, room, what)
        else:
            head = self.data[self.at : self.at + most]
        stop = head.find(b"\0")
        if stop < 0:
            raise FormatError(
                f"{what}: expected a NUL-terminated string, found no NUL in {len(head)} bytes",
                path=self.source.path,
                offset=self.at if self.data is None else self.base,
            )
        self.at += stop + 1
        return head[:stop]
