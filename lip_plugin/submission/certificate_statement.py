"""``CERTIFICATE.md``: what is proved, of which network, and what is not."""

from __future__ import annotations

from lip_plugin.certificates.program import SPOKEN_OF
from lip_plugin.report.digits import rounded_up
from lip_plugin.report.markdown import escaped, table
from lip_plugin.report.summary import percent
from lip_plugin.submission.submission import Submission
from lip_plugin.types import format_eps

_NOT_PROMISED = """\
## What is not promised

- Other executions of the same weights: TF32, bfloat16, compiled or exported programs, another library. The network in
  plain torch (`robustbench/`) was run on every image and gives the certified labels; in between nothing is said of it.
- What happens before the tensor: decoding, resizing, cropping, quantisation of a picture.
- Anything about images that were not evaluated: accuracies are shares of the images named above.
- That an image counted as undecided is robust: no attack has broken it, and no proof covers it.

Trusted: IEEE 754 arithmetic, the tensor library's dense kernels, LAPACK. How each constant is proved, and what else is
assumed: docs/soundness.md of lip-plugin."""


def certificate_statement(submission: Submission) -> str:
    report, card = submission.report, submission.card
    bound, model = report.lipschitz, submission.model
    shape = " x ".join(map(str, model.input_shape))
    parts = [
        f"# Certificate of {escaped(card.name)}",
        "For every image x of the table `report/points.csv` with prediction j and radius r: every tensor x' with "
        f"||x' - x||_2 < r is given class j by {SPOKEN_OF.get(report.arithmetic, escaped(report.arithmetic))} "
        f'(arithmetic "{escaped(report.arithmetic)}").',
        "\n".join(
            [
                f"- Norm: L2 over all {shape} entries of the tensor.",
                "- Input: pixels in [0,1]. Normalisation is an operator of the network and inside the bound, so radii "
                "are in pixels.",
                f"- Bound: Lip(h) <= {rounded_up(bound.upper_bound)} ({bound.upper_bound!r}) for the map h into "
                f"features, by {escaped(bound.method)}; per pair of classes times the distance of their rows of the "
                "head.",
                "- Radius: the smallest, over the other classes, of margin over that product; margins lowered by the "
                "error of their own evaluation, constants rounded up, radii rounded down.",
                "- Counted as proved at eps: correct and r > eps, strictly. A tie certifies nothing.",
                f"- Network: {len(model.layers)} operators, {model.num_parameters:,} parameters in "
                f"{str(model.dtype)[6:]}, digest {model.digest}; weights sha256 {report.model.sha256}.",
                f"- Images: {escaped(report.dataset.in_words)}; sha256 {submission.images_sha256}.",
                f"- Code: lip-plugin {escaped(str(report.environment.get('lip_plugin')))}, "
                f"torch {escaped(str(report.environment.get('torch')))}.",
            ]
        ),
        "## Proved",
        table(
            ["eps (L2)", "certified images", "VRA", "95 % interval (Wilson)"],
            [
                [
                    format_eps(result.eps),
                    f"{result.counts['certified']} of {report.dataset.n}",
                    percent(result.verified_robust_accuracy),
                    " to ".join(percent(end) for end in result.vra_interval95),
                ]
                for result in report.eps
            ],
        ),
        "## Lipschitz constants, operator by operator",
        table(
            ["operator", "upper bound", "proved by"],
            [[layer.name, repr(layer.upper_bound), layer.method] for layer in bound.layers],
        ),
        _NOT_PROMISED,
    ]
    return "\n\n".join(parts) + "\n"
