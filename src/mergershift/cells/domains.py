"""The domains whose images a training uses, from its configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from mergershift.archive import Domain
from mergershift.config import instantiate
from mergershift.config.schema import TransferConfig


def domains_seen(config: Mapping[str, Any]) -> tuple[Domain, ...]:
    """Domains whose images a training used.

    They are the labelled domain and, if the method used it in its penalty or after the training, the target; if the
    network was pre-trained, both.

    Args:
        config: the training's configuration as plain dictionaries, see `Config.dump`.

    Raises UserError if the method's class does not exist or does not accept its arguments.
    """
    transfer = TransferConfig.model_validate(
        {key: config["transfer"][key] for key in TransferConfig.model_fields}
    )
    labelled, target = transfer.labelled_domain, transfer.target
    if config.get("pretraining") is not None:
        return tuple(dict.fromkeys((labelled, transfer.source, target)))
    if target == labelled or not _uses_target(json.dumps(config["adaptation"]["penalty"], sort_keys=True)):
        return (labelled,)
    return (labelled, target)


@lru_cache(maxsize=1024)
def _uses_target(penalty: str) -> bool:
    from mergershift.adaptation import Adaptation  # only here, because it imports torch

    method = instantiate(json.loads(penalty), Adaptation)
    methods = [module for module in method.modules() if isinstance(module, Adaptation)]
    single = [one for one in methods if not any(other in methods for other in list(one.modules())[1:])]
    return any(one.uses_target or type(one).after_training is not Adaptation.after_training for one in single)
