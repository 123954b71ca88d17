"""A lake of the first schema comes up to the present one with every row it had, wherever the upgrade is cut off."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from market import EventBatch, Lake, upgrades
from market._part_files import end_removals
from market.errors import LakeError
from market.events import BOOK
from market.manifest import SCHEMA
from market.upgrades import upgrade_lake
from tests.flows.first_schemas import BOOK_1, part_1

ROWS = BOOK_1["ordinal"]


def events(root: Path) -> EventBatch:
    return EventBatch.concat(Lake(root).events("SYNUSDT"))


def assert_upgraded(root: Path) -> None:
    rows = events(root)
    rows = rows[: int((rows.kind == BOOK).sum())]
    for name in ("time_ms", "recv_ns", "ordinal", "side", "flags", "price", "size"):
        assert getattr(rows, name).tolist() == BOOK_1[name], name
    messages = pq.ParquetFile(Lake(root).parts("SYNUSDT", "messages")[0]).read()
    first = np.flatnonzero(np.diff(ROWS, prepend=-1))
    assert messages["u"].to_pylist() == [BOOK_1["u"][i] for i in first]
    assert messages["seq"].to_pylist() == [BOOK_1["seq"][i] for i in first]
    assert messages["ts_lag_ms"].to_pylist() == [BOOK_1["ts_ms"][i] - BOOK_1["time_ms"][i] for i in first]
    assert not list(root.rglob("*.parquet.schema-*"))
    assert not list(root.rglob(".*.tmp"))


@pytest.mark.parametrize("rows_a_group", [100, 3, 1])
def test_rows_are_kept(tmp_path: Path, rows_a_group: int) -> None:
    path = part_1(tmp_path, rows_a_group=rows_a_group)
    with pytest.raises(LakeError, match="purplesky upgrade"):
        events(tmp_path)
    assert upgrade_lake(tmp_path) == (1, 1)
    assert_upgraded(tmp_path)
    assert json.loads(path.with_name(f"{path.name}.schema-1").read_bytes())["schema"] == 1
    assert upgrade_lake(tmp_path) == (0, 1)
    assert_upgraded(tmp_path)


def test_prices_beyond_32_bits_are_kept(tmp_path: Path) -> None:
    part_1(tmp_path, price=[2**40 + n for n in range(len(ROWS))])
    upgrade_lake(tmp_path)
    rows = events(tmp_path)
    assert rows.price[rows.kind == BOOK].tolist() == [2**40 + n for n in range(len(ROWS))]


def test_a_part_without_rows(tmp_path: Path) -> None:
    part_1(tmp_path, rows=0)
    upgrade_lake(tmp_path)
    assert len(events(tmp_path)) == 0
    assert not list(tmp_path.glob("messages/*/*/*"))


@pytest.mark.parametrize("survived", range(8))
def test_a_cut_anywhere_is_made_good_by_running_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    """The process dies after so many steps on the disk; there are fewer than eight."""
    part_1(tmp_path)
    done = 0

    def mortal(work: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **options: object) -> object:
            nonlocal done
            if done == survived:
                raise KeyboardInterrupt
            done += 1
            return work(*args, **options)

        return step

    with monkeypatch.context() as patch:
        for where, name in (("market._schema_2", "publish"), ("market.upgrades", "publish"), ("os", "link")):
            patch.setattr(f"{where}.{name}", mortal(getattr(__import__(where, fromlist=[name]), name)))
        patch.setattr(upgrades, "_forget_files", mortal(upgrades._forget_files))
        if survived < 5:
            with pytest.raises(KeyboardInterrupt):
                upgrade_lake(tmp_path)
        else:
            assert upgrade_lake(tmp_path) == (1, 1)
    upgrade_lake(tmp_path)
    assert_upgraded(tmp_path)


def test_a_damaged_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = part_1(tmp_path)
    book = path.with_name("0000000000000001.parquet")
    data = bytearray(book.read_bytes())
    data[len(data) // 2] ^= 1
    book.write_bytes(data)
    before = hashlib.sha256(data).hexdigest()
    with pytest.raises(LakeError, match="not what was sealed"):
        upgrade_lake(tmp_path)
    assert hashlib.sha256(book.read_bytes()).hexdigest() == before
    assert json.loads(path.read_bytes())["schema"] == 1
    assert not list(tmp_path.rglob("*.parquet.schema-1"))


def test_a_damaged_file_that_an_upgrade_kept_is_not_deleted(tmp_path: Path) -> None:
    """After a cut it may be all that there is of the rows: it was once deleted."""
    path = part_1(tmp_path)
    book = path.with_name("0000000000000001.parquet")
    kept = book.with_name(f"{book.name}.schema-1")
    data = bytearray(book.read_bytes())
    data[len(data) // 2] ^= 1
    book.rename(kept)
    kept.write_bytes(data)
    with pytest.raises(LakeError, match="not what was sealed"):
        upgrade_lake(tmp_path)
    assert kept.read_bytes() == data


def test_a_removal_that_was_cut_off_ends_in_the_new_schema(tmp_path: Path) -> None:
    """It once read the manifest, and would have refused the older one for ever."""
    path = part_1(tmp_path)
    path.rename(path.with_name(f".{path.name}.gone"))
    end_removals(tmp_path, "SYNUSDT")
    assert not [one for one in tmp_path.rglob("*") if one.is_file()]


def test_messages_of_another_part_are_refused(tmp_path: Path) -> None:
    path = part_1(tmp_path)
    upgrade_lake(tmp_path)
    messages = Lake(tmp_path).parts("SYNUSDT", "messages")[0]
    table = pq.ParquetFile(messages).read()
    ordinal = pa.array(table["ordinal"].to_numpy() + 1)
    other = table.set_column(table.column_names.index("ordinal"), "ordinal", ordinal).cast(table.schema)
    pq.write_table(other, messages)
    sealed = json.loads(path.read_text())
    digest = hashlib.sha256(messages.read_bytes()).hexdigest()
    sealed["files"]["messages"] |= {"bytes": messages.stat().st_size, "sha256": digest}
    path.write_text(json.dumps(sealed))
    with pytest.raises(LakeError, match="not those of the book"):
        events(tmp_path)
    assert sealed["schema"] == SCHEMA
