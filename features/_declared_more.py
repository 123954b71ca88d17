"""Features of the second version of the engine: flow, impact, volatility, positioning, calendar."""

from __future__ import annotations

from features import _history, _indicators
from features._spec import PARTS, FeatureSpec, bar, metric

_LONG = _indicators.LONG

#: More such metrics, of which there is no standard deviation.
MORE_METRICS: tuple[tuple[str, str, str, int], ...] = (
    *(
        (f"pressure_{n}bps", f"(B - A) / (B + A) of the levels within {n} bps of the mid", "-1 to 1", 0)
        for n in (5, 10, 25, 50)
    ),
    *(
        (
            f"weighted_mid_{n}",
            f"((P_bid * A + P_ask * B) / (A + B) - m) / m, P the size-weighted mean price of {n} levels of a side, "
            "A and B their sizes",
            "bps",
            n,
        )
        for n in (5, 10)
    ),
)

_KYLE = "Kyle (1985), Continuous auctions and insider trading"
_BARNDORFF = "Barndorff-Nielsen, Shephard (2004), Power and bipower variation with stochastic volatility and jumps"
_MULTI = "Xu, Gould, Howison (2018), Multi-level order-flow imbalance in a limit order book"
_INTEGRATED = "Cont, Cucuringu, Zhang (2023), Cross-impact of order flow imbalance in equity markets"
_HUANG = "Huang, Stoll (1996), Dealer versus auction markets"
_EVENTS = "Hautsch, Huang (2012), The market impact of a limit order"
_INTENSITY = "Engle, Russell (1998), Autoregressive conditional duration"
_WINDOWS = _history.WINDOWS

#: What the second version of the engine added, in the order of its columns.
MORE_FEATURES: tuple[FeatureSpec, ...] = (
    *(spec for row in MORE_METRICS for spec in metric(*row, (PARTS[0], PARTS[2]))),
    *(
        bar(
            f"ofi_{n}",
            f"sum over the bar of the order flow e of the levels 1 to {n} / mean of the depth of 10 "
            "levels; e from one sample of the book to the next, a level that is not there has size 0",
            "ratio",
            "book",
            "levels",
            levels=n,
            reference=_MULTI,
        )
        for n in (5, 10)
    ),
    bar(
        "ofi_integrated",
        "w'x, x the 10 levels' terms of ofi_10, w the first principal component of x over the last "
        f"{_LONG} bars ({_history.ITERATIONS} power iterations from equal weights), scaled to a sum of |w| of 1",
        "ratio",
        "book",
        "levels",
        _LONG,
        levels=10,
        reference=_INTEGRATED,
    ),
    bar(
        "addition_rate",
        "size added to the book in the bar / D, D as in liquidity_dominance",
        "ratio",
        "book",
        "level changes",
        reference=_EVENTS,
    ),
    bar(
        "addition_skew", "(added to bids - added to asks) / both", "-1 to 1", "book", "level changes", reference=_EVENTS
    ),
    bar(
        "cancellation_rate",
        "(size taken out of the book in the bar - V) / D",
        "ratio",
        "book and trades",
        "level changes, size",
        reference=_EVENTS,
    ),
    bar(
        "cancellation_skew",
        "(c_bid - c_ask) / (|c_bid| + |c_ask|), c the size taken out of a side less what takers took from it",
        "-1 to 1",
        "book and trades",
        "level changes, size, side",
        reference=_EVENTS,
    ),
    bar(
        "resilience",
        "size added to a side of the book within 1 s after a trade that took from it / V",
        "ratio",
        "book and trades",
        "level changes, size, side",
        reference="Large (2007), Measuring the resiliency of an electronic limit order book",
    ),
    bar(
        "trade_sign_autocorrelation",
        "mean of s * previous s over the bar's trades, s = 1 bought, -1 sold",
        "-1 to 1",
        "trades",
        "side",
        reference="Lillo, Farmer (2004), The long memory of the efficient market",
    ),
    *(
        bar(
            f"signed_volume_{n}",
            f"(bought - sold) / V, of the last {n} bars",
            "-1 to 1",
            "trades",
            "size, side",
            n,
            reference="Hasbrouck (1991), Measuring the information content of stock trades",
        )
        for n in _WINDOWS
    ),
    bar(
        "kyle_lambda",
        f"cov(r, x) / var(x) * mean V of the last {_LONG} bars, r the bar's log return, x bought less sold",
        "bps a mean V",
        "trades",
        "close, size, side",
        _LONG,
        reference=_KYLE,
    ),
    bar(
        "amihud",
        f"mean of |r| / V * mean V of the last {_LONG} bars, bars with trades",
        "bps a mean V",
        "trades",
        "close, size",
        _LONG,
        reference="Amihud (2002), Illiquidity and stock returns",
    ),
    bar(
        "roll_spread",
        f"2 * sqrt(|c|) * sign(-c), c the first autocovariance of r in the last {_LONG} bars",
        "bps",
        "trades",
        "close",
        _LONG,
        reference="Roll (1984), A simple implicit measure of the effective bid-ask spread",
    ),
    bar(
        "effective_spread",
        "mean over the bar's trades, by size, of 2 * s * (p - m) / m, m at the trade",
        "bps",
        "book and trades",
        "price, size, side, best levels",
        reference=_HUANG,
    ),
    bar(
        "realised_spread",
        "sum of 2 * s * q * (p - m) / m / sum of q, m the mid 5 to 6 s after the trade, at the "
        "whole second; of the trades whose m falls in the bar",
        "bps",
        "book and trades",
        "price, size, side, best levels",
        reference=_HUANG,
    ),
    bar(
        "vpin",
        f"mean of |bought - sold| / size of the last {_history.BUCKETS} buckets of equal volume; a bucket's "
        f"size is the mean V of {_LONG} bars when it opens (known when as many buckets are full)",
        "0 to 1",
        "trades",
        "size, side",
        _LONG,
        reference="Easley, López de Prado, O'Hara (2012), Flow toxicity and liquidity in a high-frequency world",
    ),
    bar(
        "realised_volatility",
        "sqrt(mean of u^2), u the log returns of the mid from one whole second to the next",
        "bps",
        "book",
        "best levels",
        reference="Andersen, Bollerslev, Diebold, Labys (2003), Modeling and forecasting realized volatility",
    ),
    bar(
        "bipower_volatility",
        "sqrt(pi / 2 * sum of |u| * |previous u| / number of u)",
        "bps",
        "book",
        "best levels",
        reference=_BARNDORFF,
    ),
    bar(
        "jump_share",
        "1 - pi / 2 * sum of |u| * |previous u| / sum of u^2",
        "up to 1",
        "book",
        "best levels",
        reference=_BARNDORFF,
    ),
    *(
        bar(
            f"microprice_momentum_{n}",
            f"ln(microprice at the close / at the close {n} bars ago)",
            "bps",
            "book",
            "best levels",
            n + 1,
            reference="Stoikov (2018), The micro-price",
        )
        for n in (1, 12)
    ),
    bar(
        "trade_intensity",
        f"ln(N / mean N of the last {_LONG} bars)",
        "log ratio",
        "trades",
        "trades",
        _LONG,
        reference=_INTENSITY,
    ),
    bar(
        "quote_intensity",
        f"ln(n / mean n of the last {_LONG} bars), n the bar's book messages with an order flow",
        "log ratio",
        "book",
        "messages",
        _LONG,
        reference=_INTENSITY,
    ),
    bar(
        "quotes_per_trade",
        "ln(n / N)",
        "log ratio",
        "book and trades",
        "messages, trades",
        reference="Hendershott, Jones, Menkveld (2011), Does algorithmic trading improve liquidity?",
    ),
    bar(
        "time_since_trade",
        "time from the last trade to the close / length of the bar",
        "bars",
        "trades",
        "time",
        reference=_INTENSITY,
    ),
    bar(
        "funding_rate",
        "funding rate announced for the next funding",
        "bps",
        "tickers",
        "funding rate",
        reference="He, Manela, Ross, von Wachter (2022), Fundamentals of perpetual futures",
    ),
    bar("time_to_funding", "time from the close to the next funding / 8 h", "periods", "tickers", "next funding time"),
    *(
        bar(
            f"open_interest_change_{n}",
            f"ln(open interest at the close / {n} bars ago)",
            "bps",
            "tickers",
            "open interest",
            n + 1,
            reference="Bessembinder, Seguin (1993), Price volatility, trading volume, and market depth",
        )
        for n in (1, 12)
    ),
    bar(
        "basis",
        "(mark - index) / index",
        "bps",
        "tickers",
        "mark price, index price",
        reference="He, Manela, Ross, von Wachter (2022), Fundamentals of perpetual futures",
    ),
    bar(
        "liquidation_imbalance",
        f"(L - S) / (L + S), sizes of liquidated longs and shorts in the last {_LONG} bars",
        "-1 to 1",
        "liquidations",
        "size, side",
        _LONG,
        reference="Brunnermeier, Pedersen (2009), Market liquidity and funding liquidity",
    ),
    *(
        bar(
            f"{name}_{f}",
            f"{f}(2 * pi * close / 1 {name})",
            "-1 to 1",
            "clock",
            "time",
            reference="Andersen, Bollerslev (1997), Intraday periodicity and volatility persistence",
        )
        for name in ("day", "week")
        for f in ("sin", "cos")
    ),
)
