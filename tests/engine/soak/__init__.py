"""The soak: co-location never changes a token.

For each engine setting a stock engine and one with the plugin run side by side on the same
tiny fp32 model. Both answer the same random requests; the plugin's budgets change all the
time and requests are aborted at random. Every answer must equal the stock one, token for
token, and a soak that did not exercise a path fails. docs/soak.md says how to read it.

Map:
    settings   the sixteen engine settings and their flags
    workload   random requests by seed
    regimes    random live budgets, and pauses
    client     one engine asked concurrently, with aborts
    answers    what is equal, what is excused by a near-tie of stock's logits
    setting    one setting: two engines, three passes, checks
    verdict    what must have happened, over the whole soak
    __main__   `make soak`: command line, table, build/soak.json
"""
