"""`nas bench`: every strategy, run hundreds of times over tables of finished trainings.

definition, table       what a tabular benchmark is built from, and its files
replay                  the evaluator that reads a table instead of training
pool                    the architectures of a band as a search space of their own
memory                  a study without a database and without files
simulation              one strategy, one pool, some seeds: the real search over a replayed table
contest                 which simulations a comparison needs, and the true quality of what they deliver
estimates               means, intervals, the compute to reach a quality
parallel                simulations in several processes
cache, source_code      results of simulations, cached under a hash of everything that decides them
arms, comparison        from tables and strategies to a result
picture                 a result as a picture
proxy_report            how well training-free proxies rank the architectures of a table
rank_correlation        Kendall's tau within strata, with bootstrap intervals
"""
