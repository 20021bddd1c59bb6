"""What-ifs: a workload replayed on a simulated replica under several policies.

Map:
    scenario   a machine and a workload; one run of it under a policy
    policies   the policies by name, each under the scheduler it runs on
    predictors what policies plan by, fitted on the workload's own iterations
    tuning     each policy's knobs within latency targets, as its authors would find them
    terms      an SLO as people write it: a limit, or a tolerance over online alone
    capacity   what request rate a machine bears, roughly
    histogram  distributions in buckets, within a quarter of a per cent
    recording  a run in bins: series over time, distributions, in bounded memory
    comparison all policies on one workload, each tuned to the SLO
    bounding   what any scheduler could have done beside a policy
    codec      recordings as values and back
    document   the run as JSON
    report     the run as one HTML page
"""
