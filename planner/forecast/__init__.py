"""Demand of the next rounds, forecast with an upper bound, per deployment and SLO class.

Map:
    bins      counted demand, the prior, settings and errors
    values    reading stored values back
    level     short-term levels and a damped trend
    history   two weeks of demand by slot
    seasonal  profiles of the day and the week
    mixing    how much each of these counts
    ahead     the mean of a round, from all of them and the prior
    counts    what chance does to small counts
    spread    upper bounds from past residuals
    tokens    tokens of a request
    rounds    bins gathered into rounds
    demand    what comes out, and how it was made
    forecast  the forecaster: takes bins in, learns from its own forecasts
    stored    a forecaster as plain values, and back
    naive     forecasts to be beaten
    backtest  a history replayed and scored

Everything is pure: a bin's index is the time, and the moment of a forecast is an argument.
A bin costs O(1), the end of a round O(horizons x residuals), about a millisecond.

Placement's rounds are to plan for these means and bounds in place of what was just
observed, turning them into work by the latency model, and the fleet replay to do the same
in simulated time. Neither does yet.

It is plain Python on purpose. statsmodels, or a package of the Prophet kind, would bring
pandas and scipy (over 100 MB) into a package that the gateway and agents import from; its
seasonal models are refitted on whole histories, where this streams bins, keeps plain values
across restarts and bears gaps and zeros; and its intervals rest on normal residuals, where
demand has bursts. A round has some dozens of numbers, too few for numpy to pay.
"""
