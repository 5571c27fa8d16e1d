"""How evaluations are executed: the protocol, the training loop, data sets, and the runners."""
