"""The findings of the study in sentences, which claim no more than tests and intervals support."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from mergershift.evaluation.conclusions import FEWEST_SEEDS, Conclusion, conclude, disagrees, loses
from mergershift.report.compared import compared_rows
from mergershift.report.remarks import TARGET, errors, spread
from mergershift.report.study_results import Contender, Direction, Setting, StudyResults, in_setting
from mergershift.report.style import spelt
from mergershift.report.tables import metric_value
from mergershift.report.values import NONE, Value, interval, number, p_value
from mergershift.report.wording import counted, listed, upper_first

NUMBERS = ("no", "one", "two", "three", "four", "five")
FEW = 3
"""Number of methods up to which a sentence names all of them."""


def headline(direction: Direction, gathered: StudyResults) -> str:
    """The result of a direction in two sentences: what the shift costs, and what is shown to win it back."""
    if all(setting.baseline is None for setting in direction.settings):
        return "The study has no source-only training, so it does not show what the shift costs."
    losses = [
        loses(own.iloc[0])
        for setting in direction.settings
        if len(own := in_setting(gathered.comparison, setting)) and math.isfinite(own["drop"].iloc[0])
    ]
    loss = _loss(direction, gathered, losses) if losses else _two_accuracies(direction, gathered)
    return f"{loss} {_gains(direction, gathered)}".strip()


def _loss(direction: Direction, gathered: StudyResults, losses: Sequence[bool]) -> str:
    """What source-only loses between the domains, given where the loss is supported."""
    texts = {
        setting: number(float(own["drop"].iloc[0]))
        for setting in direction.settings
        if len(own := in_setting(gathered.comparison, setting)) and math.isfinite(own["drop"].iloc[0])
    }
    start = f"Trained on {direction.source} images only, the network"
    if not any(losses):
        return f"{start} loses no balanced accuracy on {direction.target} ones for certain: {spread(texts)}."
    doubt = "" if all(losses) else ", not everywhere for certain"
    if len(set(texts.values())) == 1:
        return f"{start} loses {spread(texts)} of balanced accuracy on {direction.target} ones{doubt}."
    return f"{start} loses balanced accuracy on {direction.target} ones: {spread(texts)}{doubt}."


def _two_accuracies(direction: Direction, gathered: StudyResults) -> str:
    """The accuracies of a source-only training with which nothing was compared."""
    texts = {}
    for setting in direction.settings:
        if setting.baseline is not None:
            values = [
                _both(metric_value(gathered, setting, setting.baseline, role, "balanced_accuracy"))
                for role in ("source", TARGET)
            ]
            texts[setting] = f"from {values[0]} to {values[1]}"
    start = f"Trained on {direction.source} images only, the network goes"
    return f"{start} {spread(texts)} in balanced accuracy on {direction.target} ones."


def _gains(direction: Direction, gathered: StudyResults) -> str:
    """Say which methods are shown to be better than source-only, and so win back what that loses if it does."""
    compared = {setting: compared_rows(setting, gathered) for setting in direction.settings}
    compared = {setting: rows for setting, rows in compared.items() if rows}
    if not compared:
        return ""
    galaxies = counted(min(setting.sizes["galaxies"] for setting in compared), "test galaxy")
    names = list(dict.fromkeys(contender.name for rows in compared.values() for contender in rows))
    gains = {setting: _gaining(rows) for setting, rows in compared.items()}
    lost = {setting: any(loses(row) for row in rows.values()) for setting, rows in compared.items()}
    if any(gains.values()):
        what = {
            setting: "win part of it back" if lost[setting] else "be better than source only"
            for setting in gains
        }
        texts = {setting: _who_gains(found, len(names), what[setting]) for setting, found in gains.items()}
        return upper_first(spread(texts, before=True)) + "."
    one = len(names) == 1
    unknown = f"distinguishable from source only with {galaxies}."
    if not any(lost.values()):
        return f"{names[0]} is not {unknown}" if one else f"None of the {len(names)} methods is {unknown}"
    whose = names[0] if one else f"any of the {len(names)} methods"
    return f"Whether {whose} wins any of it back remains open: {'it is not' if one else 'none is'} {unknown}"


def _gaining(rows: Mapping[Contender, pd.Series]) -> list[Contender]:
    """Methods with a supported gain, the largest first."""
    found = [contender for contender, row in rows.items() if conclude(row) is Conclusion.GAIN]
    return sorted(found, key=lambda contender: -float(rows[contender]["difference"]))


def _who_gains(found: Sequence[Contender], methods: int, what: str) -> str:
    if not found:
        return f"no method is shown to {what}"
    if len(found) <= FEW:
        verb = "is" if len(found) == 1 else "are"
        return f"{listed(contender.name for contender in found)} {verb} shown to {what}"
    return f"{len(found)} of {methods} methods are shown to {what}, {found[0].name} most"


def sentences(direction: Direction, gathered: StudyResults) -> list[str]:
    """What is chosen without labels, what the accuracies hide, and the reference: a plain sentence each."""
    leading = {
        contender.name
        for setting in direction.settings
        for contender in (setting.baseline, setting.best)
        if contender is not None
    }
    found = [
        *_choices(direction, gathered),
        " ".join(errors(direction, gathered, leading)),
        _by_area(direction, gathered),
        _reference(direction, gathered),
        _seeds(len(gathered.study.seeds)),
    ]
    return [sentence for sentence in found if sentence]


def _choices(direction: Direction, gathered: StudyResults) -> list[str]:
    """Which method the validator chooses, and what is known of its difference from source-only."""
    chosen = {setting: setting.best for setting in direction.settings if setting.best is not None}
    kinds = {(best.name, _concluded(setting, best, gathered)) for setting, best in chosen.items()}
    if len(kinds) == 1 or len(chosen) == 1:
        return [_choice(chosen, gathered)]
    return [f"With {setting.words}: {_choice({setting: best}, gathered)}" for setting, best in chosen.items()]


def _concluded(setting: Setting, contender: Contender, gathered: StudyResults) -> Conclusion | None:
    row = compared_rows(setting, gathered).get(contender)
    return None if row is None else conclude(row)


def _choice(chosen: Mapping[Setting, Contender], gathered: StudyResults) -> str:
    """Sentence on the same choice, with the same conclusion, in several settings."""
    if not chosen:
        return ""
    setting, best = next(iter(chosen.items()))
    start = f"Chosen without target labels, by {spelt(setting.validator).lower()}: {best.name}"
    conclusion = _concluded(setting, best, gathered)
    if conclusion is None:
        return (
            f"{start}, that is, no adaptation."
            if best.is_baseline and len(setting.label_free) > 1
            else f"{start}."
        )
    differences, shares = {}, {}
    for own, contender in chosen.items():
        row = compared_rows(own, gathered)[contender]
        named = row.rename({"low": "difference_low", "high": "difference_high"})
        p, share = p_value(float(row["p_holm"])), interval(row, "won_back", share=True)
        differences[own] = (
            f"{_both(interval(named, 'difference', signed=True))}, p {p if p.startswith('<') else f'= {p}'}"
        )
        shares[own] = _both(share)
    corrected = " after Holm’s correction"
    text = f"{start}. Its difference from source only, {spread(differences)}{corrected}, "
    match conclusion:
        case Conclusion.LOSS:
            return f"{text}makes it demonstrably worse than no adaptation."
        case Conclusion.GAIN:
            known = all(share != NONE for share in shares.values())
            return f"{text}wins back {spread(shares)} of the loss." if known else f"{text}is a gain."
    doubted = any(disagrees(compared_rows(own, gathered)[contender]) for own, contender in chosen.items())
    why = ": the interval is before Holm’s correction (see Gain over source only)" if doubted else ""
    return f"{text}is not distinguishable from 0{why}."


def _by_area(direction: Direction, gathered: StudyResults) -> str:
    """What source-only loses, and the chosen adaptation wins back, in AUC, which no threshold enters."""
    losses: dict[Setting, str] = {}
    shares: dict[str, dict[Setting, str]] = {}
    for setting in direction.settings:
        compared = compared_rows(setting, gathered)
        if setting.adapted is None or setting.adapted not in compared:
            continue
        row = compared[setting.adapted]
        loss, share = interval(row, "auc_drop"), interval(row, "auc_won_back", share=True)
        if loss.text != NONE:
            losses[setting] = _both(loss)
            if share.text != NONE:
                shares.setdefault(setting.adapted.name, {})[setting] = _both(share)
    if not losses:
        return ""
    won = listed(f"{name} wins back {spread(texts)}" for name, texts in shares.items()) if shares else ""
    text = f"In AUC, which no threshold enters, source only loses {spread(losses)}"
    return f"{text}, of which {won}." if won else f"{text}."


def _seeds(seeds: int) -> str:
    """What the number of seeds leaves open; empty if there are enough for claims about methods."""
    if seeds >= FEWEST_SEEDS:
        return ""
    if seeds == 1:
        return (
            "With one seed, all of this is about these trainings: intervals leave out the scatter between them, and "
            f"{NUMBERS[FEWEST_SEEDS]} seeds are the least for a claim about a method."
        )
    return (
        f"{upper_first(NUMBERS[seeds])} seeds hardly show the scatter between trainings: "
        f"{NUMBERS[FEWEST_SEEDS]} are the least for a claim about a method."
    )


def _both(value: Value) -> str:
    return f"{value.text} {value.bounds}".rstrip()


def _reference(direction: Direction, gathered: StudyResults) -> str:
    """What the reference trained on target labels reaches, and which methods exceed it, since it is no bound."""
    texts, above = {}, {}
    for setting in direction.settings:
        oracle = next((one for one in setting.contenders if one.is_oracle and one.is_trained_on_target), None)
        if oracle is None:
            continue
        reached = metric_value(gathered, setting, oracle, TARGET, "balanced_accuracy")
        texts[setting] = _both(reached)
        if exceeding := _exceeding(setting, oracle, gathered):
            above[setting] = exceeding
    if not texts:
        return ""
    text = f"For reference, the oracle, trained on {direction.target} labels, reaches {spread(texts)}"
    if not above:
        return f"{text}."
    alone = len(direction.settings) == 1
    more = "; ".join(what if alone else f"with {setting.words}, {what}" for setting, what in above.items())
    return f"{text}. It is no bound: {more}."


def _exceeding(setting: Setting, oracle: Contender, gathered: StudyResults) -> str:
    """Which label-free methods have a higher accuracy or AUC than the oracle."""
    parts = []
    for metric, name in (("balanced_accuracy", "accuracy"), ("auc", "AUC")):
        bound = metric_value(gathered, setting, oracle, TARGET, metric).text
        values = {
            contender.name: metric_value(gathered, setting, contender, TARGET, metric).text
            for contender in setting.label_free
        }
        higher = [
            f"{who} ({value})"
            for who, value in values.items()
            if NONE not in (value, bound) and value > bound
        ]
        if len(higher) > FEW:
            parts.append(f"the {name} of {len(higher)} methods is higher ({bound})")
        elif higher:
            verb = "is" if len(higher) == 1 else "are"
            parts.append(f"the {name} of {listed(higher)} {verb} above its {bound}")
    return " and ".join(parts)
