"""What a repository of the hub says about a model: README.md with metadata, and the figures as the hub reads them."""

from __future__ import annotations

from typing import Any

import yaml

from lip_plugin.data.catalogue import find_dataset
from lip_plugin.types import format_eps
from lip_plugin.zoo.card import ModelCard

RESULTS_FILE = ".eval_results/lip-plugin.yaml"
_LICENCES = ("mit", "apache-2.0", "bsd-3-clause", "bsd-2-clause", "cc0-1.0", "cc-by-4.0", "cc-by-nc-4.0", "gpl-3.0")
"""Those that the hub knows by name; it calls all others "other"."""


def readme(card: ModelCard, repository: str) -> str:
    """Markdown with YAML in front. Figures are those of ``card.measured``, each with what it speaks of."""
    head = yaml.safe_dump(_metadata(card), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{_body(card, repository)}"


def results(card: ModelCard) -> str:
    """``.eval_results/*.yaml``: an entry for each measured figure, in percent; empty without any.

    https://huggingface.co/docs/hub/eval-results
    """
    record = None if card.dataset is None else find_dataset(card.dataset)
    if record is None or record.hub is None:
        return ""
    measured = card.measured
    named = {} if measured.clean_accuracy is None else {"clean_accuracy": (measured.clean_accuracy, "Accuracy")}
    for eps, share in (measured.verified_robust_accuracy or {}).items():
        task = f"verified_robust_accuracy_l2_{eps.replace('/', '_over_')}"
        named[task] = (share, f"Proved (VRA): L2 radius {eps} in pixels of [0,1], {measured.arithmetic} arithmetic")
    about = f" on {measured.images} test images" if measured.images else ""
    entries = [
        {"dataset": {"id": record.hub, "task_id": task}, "value": value, "notes": f"{words}{about}, by lip-plugin"}
        for task, (value, words) in named.items()
    ]
    return yaml.safe_dump(entries, sort_keys=False) if entries else ""


def _metadata(card: ModelCard) -> dict[str, Any]:
    record = None if card.dataset is None else find_dataset(card.dataset)
    licence = next((name for name in _LICENCES if (card.licence or "").lower().startswith(name)), None)
    metadata = {
        "library_name": "lip-plugin",
        "pipeline_tag": "image-classification",
        "license": licence or ("other" if card.licence else None),
        "license_name": card.licence if card.licence and licence is None else None,
        "datasets": [record.hub] if record is not None and record.hub is not None else None,
        "metrics": ["accuracy"] if card.measured.clean_accuracy is not None else None,
        "tags": ["certified-robustness", "lipschitz", "adversarial-robustness", *(card.architecture or "").split()[:1]],
    }
    return {name: value for name, value in metadata.items() if value is not None}


def _body(card: ModelCard, repository: str) -> str:
    measured, proved = card.measured, card.measured.verified_robust_accuracy or {}
    lines = [
        f"# {card.name}",
        "",
        f"A classifier of {card.num_classes} classes with {card.params:,} parameters whose robustness is proved: "
        "for every image a radius in L2 within which its label cannot change.",
        "",
        *([card.use, ""] if card.use else []),
    ]
    if measured.clean_accuracy is not None:
        record = find_dataset(card.dataset)
        on = measured.dataset or (card.dataset if record is None else record.title) or "test images"
        count = f"{measured.images:,} images of " if measured.images else ""
        lines += [f"| {count}{on} | % |", "|---|---|", f"| right | {measured.clean_accuracy} |"]
        lines += [f"| right and proved (VRA) at {eps} | {share} |" for eps, share in proved.items()]
        program = measured.arithmetic or "real"
        of = (
            "the exact real-valued function that the stored weights define"
            if program == "real"
            else f"{program} arithmetic"
        )
        lines += ["", f"What is proved speaks of {of}.", ""]
    eps = f" --eps {format_eps(card.eps_train)}" if card.eps_train is not None and not card.eps_grid else ""
    lines += [
        "No figure here is believed by the library: it proves them again from the weights.",
        "",
        "```",
        "pip install 'lip-plugin[hub]'",
        f"lip certify hf:{repository}{eps}",
        "```",
        "",
        "```python",
        "import lip_plugin as lp",
        f'model = lp.load_model("hf:{repository}")',
        "```",
        "",
    ]
    words = {"Licence": card.licence, "Authors": card.authors, "Paper": card.paper, "Based on": card.based_on}
    lines += [f"- {name}: {value}" for name, value in words.items() if value]
    return "\n".join(lines).rstrip() + "\n"
