"""The pictures of the documentation: ``python -m tests.docs.pictures --write`` draws ``docs/images/*.svg`` anew.

Where a picture shows what code does (splits, votes, hurdles, sequence breaks), the code is asked.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

import numpy as np

from council import count_votes
from features.catalogue import FEATURES
from market.sequence import BookSequence
from settings import Executor, Training
from tests.docs.canvas import (
    AMBER,
    BLUE,
    GREEN,
    GRID,
    INK,
    LILAC,
    MINT,
    PURPLE,
    RED,
    ROSE,
    SAND,
    SKY,
    SOFT,
    Canvas,
)
from tests.docs.source import ROOT
from training import statistics
from training.splits import CombinatorialPurgedSplit

FOLDER = ROOT / "docs" / "images"
VIOLET, LEAF = {"fill": LILAC, "edge": PURPLE}, {"fill": MINT, "edge": GREEN}
WATER, GOLD = {"fill": SKY, "edge": BLUE}, {"fill": SAND, "edge": AMBER}


def logo() -> str:
    """A rising line before a round sky."""
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 48 48"><title>PurpleSky</title>'
        '<circle cx="24" cy="24" r="23" fill="#b39ddb"/><path d="M1.5 29a23 23 0 0 0 45 0z" fill="#311b92"/>'
        '<path d="M8 33l9-9 7 6 15-17" fill="none" stroke="#fff" stroke-width="4" stroke-linecap="round" '
        'stroke-linejoin="round"/></svg>\n'
    )


def architecture() -> str:
    """The rooms, and what flows between them."""
    c = Canvas(640, 640, "From Bybit to orders: capture, features, training, gate, registry, executor")
    c.room(20, 20, 600, 62, "Bybit, or the local exchange", "order book, trades, tickers; orders", **WATER)
    c.text(176, 116, "at night", size=14.5, colour=SOFT)
    c.text(496, 116, "all day", size=14.5, colour=SOFT)
    left = (
        ("market/", ("the lake: Parquet, every hole named",), LILAC, PURPLE),
        ("flows/", ("validation: block, mask or warn",), LILAC, PURPLE),
        ("features/", ("one compiled kernel: batch …",), MINT, GREEN),
        ("training/", ("trials × purged splits, council,", "statistics, gate, hold-out, report"), LILAC, PURPLE),
    )
    y = 134.0
    c.arrow((160, 82), (160, y), colour=BLUE)
    for name, words, fill, edge in left:
        height = 62.0 if len(words) == 1 else 82.0
        c.room(20, y, 280, height, name, *words, fill=fill, edge=edge)
        y += height + 26
        if name != "training/":
            c.arrow((160, y - 26), (160, y))
    c.arrow((160, y - 26), (160, 500))
    c.room(
        20,
        500,
        280,
        120,
        "MLflow registry",
        "every council with its verdict,",
        "passed or failed",
        fill=SAND,
        edge=AMBER,
    )
    c.text(34, 604, "you promote; nothing else does", size=14.5, bold=True, colour=AMBER)
    c.room(340, 134, 280, 62, "market/", "the same frames, live", **VIOLET)
    c.arrow((480, 82), (480, 134), colour=BLUE)
    c.room(340, 222, 280, 62, "features/", "… and live, equal to the bit", **LEAF)
    c.arrow((480, 196), (480, 222))
    c.room(340, 310, 280, 62, "council/", "members vote; one order plan", **LEAF)
    c.arrow((480, 284), (480, 310))
    c.room(
        340,
        398,
        280,
        82,
        "executor/",
        "risk, kill switch, protection,",
        "journal before every act",
        fill=LILAC,
        edge=PURPLE,
    )
    c.arrow((480, 372), (480, 398))
    c.arrow((300, 560), (320, 560), (320, 341), (340, 341), colour=AMBER)
    c.room(
        340,
        506,
        280,
        114,
        "orders",
        "dry-run: the fill model (default)",
        "live: an entry carries its stop",
        fill=SKY,
        edge=BLUE,
    )
    c.text(354, 602, "to the exchange", size=14.5)
    c.arrow((480, 480), (480, 506))
    return c.svg()


def bar() -> str:
    """What happens to one bar, from its first event to the end of its plan."""
    c = Canvas(640, 560, "The life of a bar: events, close, features, vote, plan, entry with its stop, exit")
    c.line((40, 110), (600, 110), colour=INK)
    generator = np.random.default_rng(5)
    for x in np.sort(generator.uniform(60, 395, 46)):
        c.line((float(x), 101), (float(x), 110), colour=SOFT, width=1)
    for x, words in ((50, "open"), (400, "close")):
        c.line((x, 70), (x, 120), colour=PURPLE, width=2)
        c.text(x, 62, words, size=15, colour=PURPLE, anchor="middle", bold=True)
    c.text(225, 40, "events of the bar, in the order of capture", size=15, anchor="middle", colour=SOFT)
    c.line((416, 92), (416, 110), colour=RED, width=3)
    c.text(426, 86, "the first event at or", size=14.5, colour=RED)
    c.text(426, 104, "after the close ends it", size=14.5, colour=RED)
    steps = (
        (
            "1",
            "The bar is known, or it is not",
            "touched by a suspect window: no vote, nothing filled in",
            LILAC,
            PURPLE,
        ),
        (
            "2",
            f"{len(FEATURES)} features, one vector",
            "of the kernel that read the lake; unknown is NaN",
            MINT,
            GREEN,
        ),
        ("3", "Sanity, then the vote", "a vector unlike any in training is not asked about", MINT, GREEN),
        ("4", "Risk gates and size", "equity, spread, age, daily loss, streak, kill switch", SAND, AMBER),
        ("5", "Order plan", "entry, stop, target, lifetime: the plan training simulated", LILAC, PURPLE),
        ("6", "Journal, then send", "the entry carries its stop to the exchange", SKY, BLUE),
        ("7", "Protected, then closed", "by stop, target or holding time; then the next plan", SKY, BLUE),
    )
    y = 160.0
    for number, name, words, fill, edge in steps:
        c.box(40, y, 560, 48, fill=fill, edge=edge)
        c.text(60, y + 30, number, size=18, bold=True, colour=edge)
        c.text(88, y + 20, name, size=15.5, bold=True)
        c.text(88, y + 40, words, size=14.5, colour=SOFT)
        y += 56
    return c.svg()


def cpcv() -> str:
    """Every split of the default splitter over 120 decisions, as the splitter makes them."""
    rules = Training()
    rows, hold, minute = 120, 4, 60_000
    start = np.arange(rows, dtype=np.int64) * minute
    end = start + hold * minute
    embargo = 3
    splitter = CombinatorialPurgedSplit(rules.groups, rules.test_groups, embargo * minute)
    c = Canvas(640, 500, f"All {splitter.splits} splits of {rules.groups} groups, {rules.test_groups} of them tested")
    left, top, width, height = 62.0, 64.0, 556.0, 18.0
    c.text(
        left,
        26,
        f"{rules.groups} blocks of time, every choice of {rules.test_groups} is tested once",
        size=16,
        bold=True,
    )
    for block in range(rules.groups):
        c.text(
            left + width * (block + 0.5) / rules.groups, 52, f"block {block + 1}", size=14, anchor="middle", colour=SOFT
        )
    for number, (train, test) in enumerate(splitter.split(start, end)):
        y = top + number * (height + 5)
        state = np.zeros(rows, np.int64)
        state[train], state[test] = 1, 2
        begin = 0
        for at in range(1, rows + 1):
            if at < rows and state[at] == state[begin]:
                continue
            fill = (ROSE, "#c9b8ea", "#1b7f4b")[state[begin]]
            c.box(left + width * begin / rows, y, width * (at - begin) / rows, height, fill=fill, edge="", radius=1)
            begin = at
        c.text(left - 10, y + 14, str(number + 1), size=13, anchor="end", colour=SOFT)
    bottom = top + splitter.splits * (height + 5) + 26
    c.legend(left, bottom, (("#c9b8ea", "trained on"), ("#1b7f4b", "tested"), (ROSE, "purged or embargoed")))
    paths = splitter.splits * rules.test_groups // rules.groups
    c.text(
        left, bottom + 32, f"Each block is tested {paths} times, so there are {paths} whole backtest paths.", size=15
    )
    return c.svg()


def hurdle() -> str:
    """What the best of N lucky trials shows, and ranks on the other half."""
    c = Canvas(640, 560, "The best of many trials without skill, and ranks on the other half of the data")
    bars, deviation = 1_440, 1 / np.sqrt(1_440)
    c.text(30, 34, "The best Sharpe ratio that luck alone is expected to show", size=16, bold=True)
    c.text(30, 56, f"a bar, over {bars:,} bars, against the number of trials", size=14.5, colour=SOFT)
    x0, y0, w, h = 76.0, 250.0, 530.0, 170.0
    trials = np.unique(np.round(np.geomspace(1, 1_000, 60)))
    values = [statistics.expected_max_sharpe(float(one), float(deviation**2)) for one in trials]
    top = 0.1
    for level in (0.0, 0.025, 0.05, 0.075, 0.1):
        y = y0 - h * level / top
        c.line((x0, y), (x0 + w, y), colour=GRID, width=1)
        c.text(x0 - 8, y + 5, f"{level:.3f}", size=13.5, anchor="end", colour=SOFT)
    for one in (1, 10, 100, 1_000):
        c.text(x0 + w * np.log10(one) / 3, y0 + 20, f"{one:,}", size=13.5, anchor="middle", colour=SOFT)
    points = [(x0 + w * float(np.log10(one)) / 3, y0 - h * value / top) for one, value in zip(trials, values)]
    c.line(*points, colour=PURPLE, width=3)
    n = Training().trials * 3
    mine = statistics.expected_max_sharpe(n, float(deviation**2))
    x, y = x0 + w * float(np.log10(n)) / 3, y0 - h * mine / top
    c.dot(x, y, 5)
    c.text(x - 40, y + 30, f"{Training().trials} trials, 3 thresholds: {mine:.3f}", size=14.5, colour=PURPLE)
    c.text(30, 312, "Where what was best on one half ranks on the other half", size=16, bold=True)
    c.text(
        30,
        334,
        "60 strategies, 16 blocks, every choice of 8; left of the middle is overfitting",
        size=14.5,
        colour=SOFT,
    )
    generator = np.random.default_rng(11)
    noise = generator.normal(0, 0.01, (960, 60))
    skilled = noise.copy()
    skilled[:, 7] += 0.0019
    for column, (matrix, words, colour) in enumerate(((noise, "luck alone", RED), (skilled, "one with skill", GREEN))):
        ranks = statistics.overfitting_ranks(matrix)
        share = statistics.backtest_overfitting(matrix)
        counts, _ = np.histogram(ranks, bins=12, range=(0, 1))
        left, base = 40.0 + 300 * column, 500.0
        for number, count in enumerate(counts):
            tall = 110 * float(count) / float(counts.max())
            c.box(left + 21.5 * number, base - tall, 19, max(tall, 1), fill=colour, edge="", radius=1)
        c.line((left + 21.5 * 6 - 1, 372), (left + 21.5 * 6 - 1, base), colour=INK, dash="4 4")
        c.line((left, base), (left + 258, base), colour=SOFT)
        c.text(left, 362, f"{words}: PBO {share:.2f}", size=15, bold=True, colour=colour)
        c.text(left, base + 22, "last", size=13.5, colour=SOFT)
        c.text(left + 258, base + 22, "first", size=13.5, anchor="end", colour=SOFT)
    return c.svg()


def voting() -> str:
    """A vote of five members, counted by the council's own rule."""
    probability = np.array([[[0.61, 0.32], [0.55, 0.41], [0.48, 0.37], [0.66, 0.22], [0.52, 0.44]]])
    thresholds = np.array([[0.56, 0.58], [0.53, 0.60], [0.57, 0.55], [0.60, 0.57], [0.58, 0.59]])
    members = probability.shape[1]
    needed = int(np.ceil(Training().quorum * members))
    side, confidence, said = count_votes(probability, thresholds, needed)
    c = Canvas(640, 400, "Five members vote with their own thresholds; three of five are enough")
    c.text(30, 34, "Each member has its own models and its own threshold", size=16, bold=True)
    x0, w = 150.0, 330.0
    for member in range(members):
        y = 64 + 46 * member
        value, limit = float(probability[0, member, 0]), float(thresholds[member, 0])
        yes = said[0, member] > 0
        c.text(30, y + 18, f"rank_{member + 1}", size=15, mono=True)
        c.box(x0, y, w, 26, fill="#f3f4f8", edge="", radius=4)
        c.box(x0, y, w * value, 26, fill="#8ccfa8" if yes else "#c3c8d4", edge="", radius=4)
        c.line((x0 + w * limit, y - 4), (x0 + w * limit, y + 30), colour=INK, width=2)
        c.text(x0 + 8, y + 18, f"{value:.2f}", size=14)
        c.text(
            500,
            y + 18,
            "votes long" if yes else "does not vote",
            size=15,
            colour=GREEN if yes else SOFT,
            bold=bool(yes),
        )
    c.text(x0, 308, "probability that the plan wins, given a fill; the mark is the threshold", size=14, colour=SOFT)
    votes = int((said[0] > 0).sum())
    word = "long" if side[0] > 0 else "short" if side[0] < 0 else "no trade"
    c.box(30, 326, 580, 56, fill=MINT, edge=GREEN)
    c.text(50, 349, f"{votes} of {members} say long, {needed} are needed: {word}", size=16, bold=True, colour=GREEN)
    c.text(50, 371, f"confidence {float(confidence[0]):.2f}; the plan takes the median of those who approve", size=14.5)
    return c.svg()


def protection() -> str:
    """What stands between a position and the market, over time."""
    rules = Executor()
    c = Canvas(640, 430, "From an order to a confirmed stop: what happens when the confirmation does not come")
    c.text(30, 34, "The stop travels with the entry, and is read back", size=16, bold=True)
    y = 116.0
    c.line((40, y), (610, y), colour=INK, width=2)
    marks = ((60, "entry sent", "with its stop"), (210, "fill", ""), (300, "stop read", "back: covered"))
    for x, one, two in marks:
        c.dot(x, y, 6, GREEN if x == 300 else PURPLE)
        c.text(x, y - 38, one, size=15, anchor="middle", bold=True)
        c.text(x, y - 18, two, size=14, anchor="middle", colour=SOFT)
    c.box(210, y + 8, 90, 10, fill="#f2b8b5", edge="", radius=3)
    c.text(255, y + 38, "not confirmed", size=13.5, anchor="middle", colour=RED)
    c.box(300, y + 8, 300, 10, fill="#8ccfa8", edge="", radius=3)
    c.text(450, y + 38, "covered, also while the executor is dead", size=13.5, anchor="middle", colour=GREEN)
    y = 276.0
    c.text(30, y - 68, "When the confirmation does not come", size=16, bold=True)
    c.line((40, y), (610, y), colour=INK, width=2)
    for x, one, two in ((60, "fill", ""), (190, "asked again", f"every {rules.protection_retry_ms / 1000:g} s"),
                        (400, f"{rules.protection_timeout_ms / 1000:g} s, or refused twice", "close at market"),
                        (575, "flat", "")):  # fmt: skip
        c.dot(x, y, 6, RED if x == 400 else GREEN if x == 575 else PURPLE)
        c.text(x, y - 38, one, size=15, anchor="middle", bold=True)
        c.text(x, y - 18, two, size=14, anchor="middle", colour=SOFT)
    c.box(60, y + 8, 340, 10, fill="#f2b8b5", edge="", radius=3)
    c.box(400, y + 8, 175, 10, fill="#f6d79b", edge="", radius=3)
    c.box(30, 322, 580, 84, fill=SKY, edge=BLUE)
    c.text(48, 348, "No answer is not “no”", size=16, bold=True, colour=BLUE)
    c.text(48, 370, "An order without an answer is asked for by its link id before anything else is", size=14.5)
    c.text(48, 391, "sent. A failed read is unknown: never flat, never zero.", size=14.5)
    return c.svg()


def capture() -> str:
    """Frames of a session with a lost one, judged by the recorder's own check."""
    c = Canvas(640, 476, "A session with a lost message: the book is unknown until the next snapshot")
    messages = [(100, True), *((u, False) for u in range(101, 106)), *((u, False) for u in range(107, 110)),
                (110, True), *((u, False) for u in range(111, 115))]  # fmt: skip
    sequence = BookSequence()
    c.text(30, 34, "Book messages as they came, by update id", size=16, bold=True)
    x, y, gaps = 30.0, 60.0, list[tuple[float, str]]()
    for u, snapshot in messages:
        cause = sequence.check(u, snapshot)
        known = sequence.trust.name == "KNOWN"
        if cause:
            gaps.append((x, cause))
        fill, edge = (SKY, BLUE) if snapshot else (MINT, GREEN) if known else (ROSE, RED)
        c.box(x, y, 36, 44, fill=fill, edge=edge, radius=5)
        c.text(x + 18, y + 27, str(u), size=14, anchor="middle", colour=edge)
        x += 41
    for at, cause in gaps:
        c.arrow((at + 18, 150), (at + 18, 108), colour=RED)
        c.text(max(at, 30), 168, cause, size=14, colour=RED)
    c.legend(30, 204, ((BLUE, "snapshot"), (GREEN, "follows on"), (RED, "not used: the book is unknown")))
    c.text(30, 254, "What is written down, and what follows from it", size=16, bold=True)
    rows = (
        ("a GAP row before the message", "a reader of the lake meets it where the session did"),
        ("a suspect window: start, end, cause", "the bars it touches leave training and trading"),
        ("hashes of each part, in a manifest", "a missing part is a hole, a changed one an error"),
        ("comparisons with the REST book", "equal, different or unverified; that is not clean"),
    )
    for number, (name, words) in enumerate(rows):
        y = 284.0 + 50 * number
        c.text(30, y, name, size=14.5, bold=True)
        c.text(30, y + 20, words, size=14.5, colour=SOFT)
    return c.svg()


PICTURES: dict[str, Callable[[], str]] = {
    "logo.svg": logo,
    "architecture.svg": architecture,
    "bar.svg": bar,
    "cpcv.svg": cpcv,
    "luck.svg": hurdle,
    "voting.svg": voting,
    "protection.svg": protection,
    "capture.svg": capture,
}


def main() -> None:
    """Write, or say what is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true")
    write = parser.parse_args().write
    stale = []
    for name, draw in PICTURES.items():
        path, text = FOLDER / name, draw()
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if write:
                path.write_text(text, encoding="utf-8")
    print(("written: " if write else "out of date: ") + (", ".join(stale) or "none"))
    sys.exit(0 if write or not stale else 1)


if __name__ == "__main__":
    main()
