"""Finding and reading Bybit's archive files."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import struct
import zipfile
from collections.abc import Callable, Generator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
from isal import igzip, igzip_lib, isal_zlib
from numpy.typing import NDArray

from market.errors import ArchiveError, DataError, UnknownSymbolError
from market.events import ASK, BID
from market.instruments import Instrument, pick, read_instruments
from market.units import UnitTable, scaled

#: Decompressed bytes handed on at a time: what is in the cache is not fetched again by the scanner.
CHUNK = 1 << 21
#: Compressed bytes that are read at a time.
_READ = 1 << 18
#: Of a zip's local header (APPNOTE.TXT, 4.3.7): its signature, and the lengths of name and extra field at its end.
_LOCAL = struct.Struct("<4s22xHH")
_BOOK = re.compile(r"(\d{4}-\d{2}-\d{2})_(.+)_ob(\d+)\.data\.zip")
_TRADES = re.compile(r"(.+?)(\d{4}-\d{2}-\d{2})\.csv\.gz")
_TRADE_COLUMNS = ("timestamp", "symbol", "side", "size", "price", "trdMatchID")
_SECONDS = re.compile(r"([0-9]{9,11})(?:\.([0-9]+))?")
_INFLATING: type[Exception] = igzip_lib.IsalError  # type: ignore[assignment]  # its stub has an instance
_UNREADABLE = (zipfile.BadZipFile, _INFLATING, EOFError, OSError, NotImplementedError)
_EARLIEST_MS, _LATEST_MS = 10**12, 10**13
_SIDES = {"Buy": BID, "Sell": ASK}


@dataclass(frozen=True, slots=True)
class ArchiveDay:
    """The archives of one UTC day."""

    date: str
    book: Path
    trades: Path | None

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each archive, by file name."""
        return {path.name: _sha256(path) for path in (self.book, self.trades) if path is not None}


@dataclass(frozen=True, slots=True)
class TradeColumns:
    """One day's trades in order of time: ms, ticks, steps, taker side, Bybit's ids."""

    time_ms: NDArray[np.int64]
    price: NDArray[np.int64]
    size: NDArray[np.int64]
    side: NDArray[np.int8]
    ids: list[str]


def find_instrument(folder: Path, symbol: str) -> Instrument:
    """The rules of `symbol` in ``instruments-info.json`` or ``live/*instruments-info.json`` under `folder`.

    Raises
    ------
    ArchiveError
        There is no such file.
    UnknownSymbolError
        None of them has the symbol.
    """
    files = [*folder.glob("instruments-info.json"), *sorted((folder / "live").glob("*instruments-info.json"))]
    if not files:
        raise ArchiveError(
            f"{folder} has no instruments-info.json",
            advice="Save the answer of GET /v5/market/instruments-info?category=linear there",
        )
    known: dict[str, Instrument] = {}
    for path in reversed(files):
        known |= read_instruments(path)
    return pick(known, symbol)


def find_days(folder: Path, symbol: str) -> tuple[list[ArchiveDay], list[str]]:
    """The days that can be imported, in order, and what a person should know about the others.

    Raises
    ------
    UnknownSymbolError
        There is no order-book archive of the symbol; the message lists the symbols there are.
    """
    books: dict[str, tuple[int, Path]] = {}
    for path in sorted((folder / "orderbook" / symbol).glob("*.zip")):
        match = _BOOK.fullmatch(path.name)
        if match is not None and match[2] == symbol:
            books[match[1]] = max(books.get(match[1], (0, path)), (int(match[3]), path))
    if not books:
        known = ", ".join(sorted(path.name for path in (folder / "orderbook").glob("*") if path.is_dir())) or "none"
        raise UnknownSymbolError(
            f"{folder} has no order-book archive of {symbol} (symbols there: {known})",
            advice=f"Put Bybit's archives into {folder / 'orderbook' / symbol}, or check the symbol's spelling",
        )
    trades = {
        match[2]: path
        for path in sorted((folder / "trades" / symbol).glob("*.csv.gz"))
        if (match := _TRADES.fullmatch(path.name)) is not None and match[1] == symbol
    }
    warnings = [f"{date} is left out: trades without an order book" for date in sorted(trades.keys() - books.keys())]
    warnings += [f"{date} has no trades archive" for date in sorted(books.keys() - trades.keys())]
    return [ArchiveDay(date, path, trades.get(date)) for date, (_, path) in sorted(books.items())], warnings


def read_lines(path: Path) -> Generator[tuple[bytes, float]]:
    """The lines of a zipped archive, in pieces of about :data:`CHUNK` bytes.

    Yields
    ------
    lines, share
        Whole lines, and how much of the archive has been read so far, 0 to 1.

    Raises
    ------
    ArchiveError
        The archive is damaged or cut off.
    """
    rest = b""
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise _damaged(path, f"{len(members)} files in it instead of one")
        read = 0
        for chunk in _inflated(path, members[0]):
            read += len(chunk)
            end = chunk.rfind(b"\n") + 1
            if end == 0:
                rest += chunk
                continue
            lines, rest = rest + chunk[:end], chunk[end:]
            yield lines, read / members[0].file_size
    except _UNREADABLE as error:
        raise _damaged(path, f"after line {_whole_lines(path)}: {error}") from error
    if rest:
        yield rest, 1.0
    elif not read:
        raise _damaged(path, "no line in it")


def _inflated(path: Path, member: zipfile.ZipInfo) -> Generator[bytes]:
    """The only file of a zip archive, in pieces of about :data:`CHUNK` bytes.

    Raises
    ------
    BadZipFile, EOFError, IsalError, OSError
        It is damaged, cut off, or packed in another way than by deflating.
    """
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        raise zipfile.BadZipFile("it is encrypted, or not deflated")
    inflater = isal_zlib.decompressobj(-15) if member.compress_type == zipfile.ZIP_DEFLATED else None
    checksum, total, left = 0, 0, member.compress_size
    with path.open("rb") as file:
        file.seek(member.header_offset)
        head = file.read(_LOCAL.size)
        if len(head) < _LOCAL.size or not head.startswith(b"PK\x03\x04"):
            raise zipfile.BadZipFile("its file does not begin where it should")
        _, name, extra = _LOCAL.unpack(head)
        file.seek(name + extra, 1)
        pieces: list[bytes] = []
        while left:
            packed = file.read(min(_READ, left))
            if not packed:
                raise EOFError("it ends in the middle")
            left -= len(packed)
            pieces.append(packed if inflater is None else inflater.decompress(packed))
            checksum = isal_zlib.crc32(pieces[-1], checksum)
            total += len(pieces[-1])
            if sum(map(len, pieces)) >= CHUNK:
                yield b"".join(pieces)
                pieces.clear()
    if inflater is not None and not inflater.eof:
        raise EOFError("it ends in the middle")
    if (checksum, total) != (member.CRC, member.file_size):
        raise zipfile.BadZipFile("its checksum does not match")
    yield b"".join(pieces)


def read_trades(path: Path, instrument: Instrument) -> TradeColumns:
    """All trades of an archive, in order of time; Bybit's older archives have the newest first.

    Raises
    ------
    ArchiveError
        The archive is damaged or cut off, or a line is not a trade of the symbol; with the line's number.
    """
    try:
        with _gunzip(path) as file:
            data = file.read()
    except _UNREADABLE as error:
        raise _damaged(path, f"after line {_whole_lines(path)}: {error}") from error
    trades = _read_columns(data, instrument)
    return _in_order(_read_rows(path, data, instrument) if trades is None else trades)


def _read_columns(data: bytes, instrument: Instrument) -> TradeColumns | None:
    """All lines at once, or None where one is not as expected: :func:`_read_rows` then finds which."""
    try:
        table = pacsv.read_csv(
            pa.BufferReader(data),
            convert_options=pacsv.ConvertOptions(
                include_columns=_TRADE_COLUMNS, column_types=dict.fromkeys(_TRADE_COLUMNS, pa.string())
            ),
        ).combine_chunks()
        if table.column("symbol").unique().to_pylist() != [instrument.symbol]:
            return None
        time_ms = _times(table.column("timestamp").combine_chunks().cast(pa.decimal128(18, 6)))
        if time_ms.min() < _EARLIEST_MS or time_ms.max() > _LATEST_MS:
            return None
        price = _units(table.column("price"), instrument.tick_size)
        size = _units(table.column("size"), instrument.qty_step)
        if price is None or size is None:
            return None
        return TradeColumns(
            time_ms,
            price,
            size,
            _mapped(table.column("side"), _SIDES.__getitem__).astype(np.int8),
            table.column("trdMatchID").to_pylist(),
        )
    except (pa.ArrowException, DataError, KeyError, ValueError, InvalidOperation):
        return None


def _times(seconds: pa.Decimal128Array) -> NDArray[np.int64]:
    return _low_words(seconds) // 1000  # from microseconds


def _low_words(numbers: pa.Decimal128Array) -> NDArray[np.int64]:
    """Unscaled values, which at 18 digits or fewer are the low halves of the array's 128-bit numbers."""
    words = np.frombuffer(numbers.buffers()[1], np.int64).reshape(-1, 2)[:, 0]
    return words[numbers.offset : numbers.offset + len(numbers)]


def _units(column: pa.ChunkedArray, unit: Decimal) -> NDArray[np.int64] | None:
    """Decimal strings as numbers of units, or None where one is not a positive multiple."""
    decimals, divisor = scaled(unit)
    words = _low_words(column.combine_chunks().cast(pa.decimal128(18, decimals)))
    if (words <= 0).any() or (divisor != 1 and (words % divisor).any()):
        return None
    return words // divisor if divisor != 1 else words


def _mapped(column: pa.ChunkedArray, convert: Callable[[str], int]) -> NDArray[np.int64]:
    """Convert each distinct string once."""
    encoded = column.combine_chunks().dictionary_encode()
    values = np.array([convert(text) for text in encoded.dictionary.to_pylist()], np.int64)
    rows: NDArray[np.int64] = encoded.indices.to_numpy()
    return values[rows]


def _read_rows(path: Path, data: bytes, instrument: Instrument) -> TradeColumns:
    """Line by line, to say which line is wrong and why, or to read what is merely unusual."""
    prices, sizes = _tables(instrument)
    rows: list[tuple[int, int, int, int]] = []
    ids: list[str] = []
    line = 1
    try:
        reader = csv.reader(io.StringIO(data.decode(), newline=""))
        header = next(reader, [])
        missing = [name for name in _TRADE_COLUMNS if name not in header]
        if missing:
            raise _damaged(path, f"line 1 has no column {', '.join(missing)}")
        places = [header.index(name) for name in _TRADE_COLUMNS]
        for line, row in enumerate(reader, 2):
            stamp, symbol, side, size, price, trade_id = (row[place] for place in places)
            if symbol != instrument.symbol:
                raise _damaged(path, f"line {line} is a trade of {symbol}")
            rows.append((_milliseconds(stamp), prices[_plain(price)], sizes[_plain(size)], _SIDES[side]))
            ids.append(trade_id)
    except ArchiveError:
        raise
    except DataError as error:
        raise ArchiveError(f"{path}, line {line}: {error.message}", advice=error.advice) from error
    except (IndexError, ValueError, KeyError, InvalidOperation, csv.Error) as error:
        raise _damaged(path, f"line {line} is not a trade ({type(error).__name__}: {error})") from error
    columns = np.array(rows, np.int64).reshape(-1, 4).T.copy()
    return TradeColumns(columns[0], columns[1], columns[2], columns[3].astype(np.int8), ids)


def _in_order(trades: TradeColumns) -> TradeColumns:
    time_ms = trades.time_ms
    if not len(time_ms) or (np.diff(time_ms) >= 0).all():
        return trades
    order = np.argsort(time_ms, kind="stable") if time_ms[0] <= time_ms[-1] else _newest_first(time_ms)
    ids = [trades.ids[i] for i in order]
    return TradeColumns(time_ms[order], trades.price[order], trades.size[order], trades.side[order], ids)


def _tables(instrument: Instrument) -> tuple[UnitTable, UnitTable]:
    prices = UnitTable(instrument.tick_size, f"{instrument.symbol} price", positive=True)
    return prices, UnitTable(instrument.qty_step, f"{instrument.symbol} size", positive=True)


def _gunzip(path: Path) -> igzip.IGzipFile:
    return igzip.IGzipFile(path)  # type: ignore[no-untyped-call]


def _whole_lines(path: Path) -> int:
    """How many lines of a damaged archive can still be read."""
    lines = 0
    try:
        for chunk in _unpacked(path):
            lines += chunk.count(b"\n")
    except _UNREADABLE:
        return lines
    return lines


def _unpacked(path: Path) -> Generator[bytes]:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
        for member in members:
            yield from _inflated(path, member)
        return
    with _gunzip(path) as file:
        while chunk := file.read(1 << 16):
            yield chunk


def _newest_first(time_ms: NDArray[np.int64]) -> NDArray[np.intp]:
    """Order of time for rows that stand the other way round, those of equal time included."""
    return (len(time_ms) - 1 - np.argsort(time_ms[::-1], kind="stable")).astype(np.intp)


def _milliseconds(seconds: str) -> int:
    match = _SECONDS.fullmatch(seconds)
    if match is None:
        raise ValueError(f"timestamp {seconds!r}")
    return int(match[1]) * 1000 + int((match[2] or "")[:3].ljust(3, "0"))


def _plain(number: str) -> str:
    """Without an exponent; Bybit writes tiny sizes with one."""
    return format(Decimal(number), "f") if "e" in number or "E" in number else number


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _damaged(path, error.strerror or str(error)) from error


def _damaged(path: Path, what: str) -> ArchiveError:
    return ArchiveError(f"{path} is damaged ({what})", advice="Download it again; nothing of that day was imported")
