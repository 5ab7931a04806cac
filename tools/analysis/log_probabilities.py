#!/usr/bin/env python
"""Log-probabilities of predicted and true labels on the test images that two models both get wrong (MixSKD, Figure 3a)."""

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import common_errors, histograms, predict
from mixskd_mm.evaluation.tool import analysis_parser, describe, load_models, markdown_table, write_results

PANELS = {'predicted': 'predicted labels', 'true': 'ground-truth labels'}


def main() -> None:
    args = analysis_parser(__doc__, 'log_probabilities').parse_args()
    if len(args.models) != 4:
        raise InputError(f'got {len(args.models)} files: expected CONFIG CHECKPOINT of two models')
    classifiers = load_models(args)
    scores = [predict(classifier) for classifier in classifiers]
    wrong = common_errors(classifiers[0].labels, *(one.predicted for one in scores))
    if not wrong.any():
        raise InputError(
            f'none of the {len(wrong)} test images is misclassified by both models: expected some to compare them on'
        )
    results = describe(args, classifiers, common_errors=int(wrong.sum()), bin_edges={})
    for panel in PANELS:
        values = [getattr(one, f'log_p_{panel}')[wrong] for one in scores]
        results['bin_edges'][panel], counts = histograms(values)
        for model, one, count in zip(results['models'].values(), values, counts, strict=True):
            model[panel] = dict(mean=one.mean().item(), counts=count)
    print(f'Mean log-probability on the {wrong.sum()} of {len(wrong)} images that both get wrong')
    rows = [(name, *(model[panel]['mean'] for panel in PANELS)) for name, model in results['models'].items()]
    print(markdown_table(['model', *PANELS.values()], rows))
    write_results(args.out, 'log_probabilities', results, draw(results))


def draw(results: dict) -> Figure:
    figure = Figure(figsize=(11, 4.5))
    for axis, (panel, title) in zip(figure.subplots(1, 2), PANELS.items(), strict=True):
        for name, model in results['models'].items():
            axis.stairs(model[panel]['counts'], results['bin_edges'][panel], fill=True, alpha=0.5, label=name)
        axis.set(title=f'Common misclassified samples: {title}', xlabel='log-probability', ylabel='samples')
        axis.legend(fontsize=8)
    return figure


if __name__ == '__main__':
    exit_on_input_error(main)
