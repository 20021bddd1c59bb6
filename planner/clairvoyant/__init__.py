"""How much offline work any scheduler could have done: a bound that no policy passes.

A clairvoyant scheduler knows all arrivals, lengths and durations, and orders and batches as
it likes. What it can do is hard to compute; here is a relaxation of it that every schedule of
`planner.simulation` satisfies, and a price for each of its constraints. Any prices >= 0 prove
a bound (Lagrangian duality); the search for the lowest only makes it tighter.

Of a window, with passes k that last T_k, have S_k prompt tokens, d_k online and e_k offline
decodes, every schedule satisfies:

1. sum T_k <= window, since passes do not overlap; one that began before the window and whose
   results count adds what the largest pass can have, free of time.
2. T_k >= floor(S_k, d_k + e_k) + pair_ms*A_k + context_ms*K_k   (`envelope`), with S_k up to
   the chunk, which includes the decodes of a mixed pass, and rows up to
   `max_running_requests`; prompts and decodes apart where the engine does not mix them.
3. sum S_k, sum d_k, sum e_k and the attention of all passes are at least what the requests
   need (`needs`): each token that counts was computed, or found in the cache and computed by
   one of those that share it; each output token but the first took a pass of its row. A row
   that gives up its KV gets one token with its prompt, computed again, instead: a decode
   spared for a prompt, which is taken to be no gain here and is counted in `no_worse`.
4. The decodes of a pass hold their KV at once, so over all passes the KV that rows hold alone
   is at most passes * kv_tokens.
5. d_k <= n(t) throughout the pass, where n(t) counts the online requests in the system. It
   rises only as requests arrive, no sooner than a first token takes, and each stays at least
   as long as its decodes take in the shortest passes (`presence`).
6. With targets on the means, the integral of n(t) <= requests * TTFT + gaps * ITL, since what
   a request spends in the system is its TTFT and its gaps; likewise the time that requests
   wait for first tokens <= requests * TTFT (`online`).
7. Offline requests of a closed loop are worked on in the order they are sent, but for as many
   as are in flight at either edge of the window; what is done in part at its end is in KV,
   but for a stated number of requests, and none is overtaken by more than a stated number
   (`supply`, `unended`).

Where nothing else says so, a request may be preempted, parked, evicted and computed again at
no cost, which policy only loses by. What is *not* bounded: a target on a quantile of ITL (a
gap in a hundred may be as long as one likes), and online work that no target on a mean
forbids to leave for after the window. A mean also lets its slack be spent at one time, and a
batch lets its dearest requests starve. So there are bounds of several kinds, the later ones of
fewer schedules, and closer to the best of them:

- given `targets` alone, of every schedule that meets them;
- given also what a run was like (all its latencies as targets, `LatencyTargets.from_baseline`
  with no tolerance, `keeps_up_with`, `given_up`, `spread`), of every schedule that serves
  online as timely and the batch as orderly as that run;
- with `standing` for the last two, of every schedule that begins the window as that run began
  it, and at its end is behind it with no offline request and has no more done in part
  (`backlog`). A window's edges are then its own: what is found half done, and what is left so,
  is worth more in a minute than anything a scheduler decides in it;
- `no_worse`: of those that also serve no online request later, at its first token and at its
  last. There each decode is tied to its request and each stretch of time has its own price;
  the proof is in that module.

The run is one of each. The last does not cover a schedule that serves one online request
later in order to serve others sooner, as a target on a mean allows; the others do. How far
those are from the best schedule is not known where online work is heavy: they do not say which
request a decode belongs to, so decodes may be done when most requests are present, and time is
worth the same at all times. A policy's share of them is then less than its share of what can
be done. None says when offline KV is held, but for the rows of a pass and the window's end.

`Bound.offline_tokens` counts as `Replayed` does. Of the truth it is assumed that no sum makes
a pass shorter and what `envelope` says of attention; `Envelope.least_ms` checks both on any
pass. Noise, drift and stalls are not part of it: compare a run without them. Noise of mean 1
moves a window of K passes by about its deviation / sqrt(K).

Map:
    envelope   how little time a pass can take
    needs      what requests must have computed
    prices     what an amount of each scarce thing is worth
    rates      what a millisecond earns at best, by online requests present
    presence   how many those can be, over time
    online     what the online requests take
    supply     what offline requests are worth doing
    unended    how orderly a run did them
    minimum    the search for the best prices
    bound      all of it, as one number and what it is bound by
    standing   where a run's batch stands when the window begins and ends
    backlog    what a batch can gain that ends up behind it nowhere
    kept       that, as `bound` asks for it
    no_worse   the bound of schedules that leave nobody worse off than a run
    stays      when each online request can be worked on in them
    turns      what a millisecond earns at best, in each stretch of time
    planes     the search for the best prices of all that
"""
