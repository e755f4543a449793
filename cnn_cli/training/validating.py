"""The end of an epoch: validation, and the epoch's row of metrics."""

from __future__ import annotations

from cnn_cli.data.shards import bounds
from cnn_cli.inference.evaluate import Evaluation, evaluate, evaluate_labels
from cnn_cli.inference.judging import Judgement
from cnn_cli.inference.scorer import ViewsEngine
from cnn_cli.inference.several_labels import LabelsEvaluation, LabelsJudgement, best_thresholds
from cnn_cli.inference.validation import validation_group
from cnn_cli.parallel.batches import sum_scores
from cnn_cli.runs.results import EpochRow
from cnn_cli.training.measured import keeps_logits
from cnn_cli.training.session import Hook, Session


class Validation(Hook):
    """Evaluates an epoch and counts it as done."""

    _said = False

    def after_epoch(self, session: Session) -> None:
        state = session.state
        with session.requests.at_once():
            evaluation = _evaluate(session)
        totals = None if evaluation is None else self._totals(session, evaluation)
        val_loss, val_top1 = (None, None) if totals is None else totals
        row = EpochRow(
            epoch=state.epoch + 1,
            train_loss=state.sums.mean_loss,
            train_top1=state.sums.top1,
            val_loss=val_loss,
            val_top1=val_top1,
            lr=session.learner.last_learning_rate(state),
            seconds=state.sums.seconds,
            images_per_second=state.sums.images / max(state.sums.seconds, 1e-9),
            val={} if evaluation is None or totals is None else _others(session, evaluation),
        )
        train = session.setup.config.train
        session.best = state.end_epoch(
            row, train.monitored, train.early_stop, keeps_last=train.keeps_last
        )
        state.note_event("epoch", **row.as_dict())
        session.confusion = {}
        if session.best and val_top1 is not None and isinstance(evaluation, Evaluation):
            session.confusion = validation_group(evaluation, session.setup.ranks)

    def _totals(
        self, session: Session, evaluation: Evaluation | LabelsEvaluation
    ) -> tuple[float, float] | None:
        """Return loss and top-1 of all ranks' images; None if no image can be read, which is noted
        once.
        """
        loader, root = session.data.val_loader, session.setup.dataset.root
        if loader is None:
            return None
        totals = sum_scores(session.setup.ranks, evaluation.totals, loader.cache.bad, root)
        if totals is None and not self._said:
            self._said = True
            session.progress.note(
                f"{root}: none of the {len(loader.split):,} validation images can be read, so no "
                "epoch is evaluated; see bad_files.txt"
            )
        return totals


def _evaluate(session: Session) -> Evaluation | LabelsEvaluation | None:
    """Evaluate this rank's validation images; None if there are none."""
    loader, ranks = session.data.val_loader, session.setup.ranks
    if loader is None:
        return None
    places = bounds(len(loader.split), ranks.rank, ranks.size)
    views, features = session.data.views, session.val_features
    engine = session.engine if views is None else ViewsEngine(session.engine, views)
    scorer, images = features or engine, features or loader
    if session.setup.multiple:
        return evaluate_labels(scorer, images, session.evaluated, places)
    keep = keeps_logits(session.setup.measured)
    return evaluate(scorer, images, session.evaluated, places, keep_logits=keep)


def _others(session: Session, evaluation: Evaluation | LabelsEvaluation) -> dict[str, float | None]:
    """Return the metrics beside loss and top-1, of all ranks' images.

    With several labels per image, the thresholds are chosen on these images too.
    """
    ranks, measured = session.setup.ranks, session.setup.measured
    classes = session.setup.dataset.classes

    def values(judgement: Judgement | LabelsJudgement) -> dict[str, float | None]:
        return {metric.text: judgement.value(metric) for metric in measured}

    if isinstance(evaluation, LabelsEvaluation):
        of_labels = ranks.bring(evaluation)

        def judge_labels() -> tuple[dict[str, float | None], tuple[float, ...]]:
            whole = LabelsEvaluation.joined(of_labels)
            thresholds = best_thresholds(whole)
            return values(LabelsJudgement(whole, classes, thresholds)), thresholds

        found, session.thresholds = ranks.first(judge_labels)
        return found
    parts = ranks.bring(evaluation)
    return ranks.first(lambda: values(Judgement(Evaluation.joined(parts), classes)))
