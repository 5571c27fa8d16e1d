"""Every strategy, run hundreds of times over tables of trainings that have been done already.

pool            the architectures of a band as a search space of their own
stand_ins       a study and a folder that keep nothing on disk
simulation      one strategy, one pool, some seeds: the real search over a replayed table
judging         the true quality of what was delivered, which no simulation ever sees
estimates       means, intervals, the compute to reach a quality
plan            which simulations a comparison needs
execution       running them in parallel, and remembering them
comparison      from tables and strategies to a result
text, picture   how a result is shown
"""
