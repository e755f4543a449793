"""From a config to a run: set-up, the training loop, one step, and the hooks of the loop.

`train.train` chooses the run folder. `setup.prepare` checks config, data and memory,
`session.open_session` opens images and engine, `trainer.Trainer` is the loop, `step.Step` computes
one step, and `learner.Learner` updates the weights. Hooks set the network of an
epoch (`epoch_network`), estimate batch statistics (`precise_bn`), evaluate (`validating`) and write
files (`saving`).

This package imports `inference` and the packages below it.
"""
