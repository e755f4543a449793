"""From a config to a run: set-up, loop, step, and what hangs on the loop.

`train.train` chooses the run folder. `setup.prepare` checks config, data and memory,
`session.open_session` opens images and engine, `trainer.Trainer` is the loop, and `step.Step` one
step of it, whose update is `learner.Learner`'s. Hooks on the loop freeze layers (`features`),
estimate batch statistics (`precise_bn`), evaluate (`validating`) and write files (`saving`).

Imports `inference` and what is below it.
"""
