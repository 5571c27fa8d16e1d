"""`nas bench`: every strategy, run hundreds of times over tables of finished trainings.

definition, table       the definition of a tabular benchmark, and its files
replay                  the evaluator that reads a table instead of training
pool                    the architectures of a band as a search space of their own
memory                  a study without a database and without files
simulation              one strategy, one pool, some seeds: the real search over a replayed table
contest                 the simulations of a comparison, and the true quality of their results
estimates               means, intervals, the compute to reach a quality
parallel                simulations in several processes
cache, source_code      results of simulations, cached under a hash of everything that decides them
arms, comparison        from tables and strategies to a result
picture                 a result as a picture
proxy_report            how well proxies rank the architectures of a table
rank_correlation        Kendall's tau within strata, with bootstrap intervals
"""
