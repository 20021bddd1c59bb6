"""Why a deployment has what it has, and what small changes would bring.

    nodefit.py      why one more replica fits no node: a misfit a node, the nearest first
    beside.py       host memory and neighbours of all that holds devices on a node
    remedy.py       "would fit if", of a misfit
    wording.py      phrases that several of them share
    scope.py        the part of a fleet whose objective a change of one deployment touches
    sharing.py      tenants' quotas and fair shares, divided with what is outside of that part
    differences.py  the objective with a small change less without, on such a part
    binding.py      what binds, in a word and in words

Evaluates and does not solve: work is routed anew, other replicas stay where they are.
"""
