#!/usr/bin/env python
"""Expected calibration error and reliability diagram: whether confidences agree with accuracy."""

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.errors import InputError
from mixskd_mm.evaluation import calibration
from mixskd_mm.evaluation.tool import analysis_parser, describe, load_models, markdown_table, write_results

COLUMNS = {'top1': 'top-1 (%)', 'mean_confidence': 'mean confidence (%)', 'ece': 'ECE (%)', 'nll': 'NLL (nats)'}


def main() -> None:
    parser = analysis_parser(__doc__, 'calibration')
    parser.add_argument('--bins', type=int, default=15, help='bins of confidences from 0 to 1 (default: 15)')
    args = parser.parse_args()
    if args.bins < 1:
        raise InputError(f'--bins {args.bins}: expected a number > 0')
    classifiers = load_models(args)
    results = describe(args, classifiers, bins=args.bins)
    for classifier in classifiers:
        results['models'][classifier.name].update(calibration(classifier, args.bins))
    models = results['models']
    print(f'Calibration on {results["images"]} images, {args.bins} bins')
    rows = [(name, *(model[key] for key in COLUMNS)) for name, model in models.items()]
    print(markdown_table(['model', *COLUMNS.values()], rows))
    write_results(args.out, 'calibration', results, draw(models))


def draw(models: dict[str, dict]) -> Figure:
    """Accuracy over confidence, one panel a model; bars have the opacity of their share of the images."""
    figure = Figure(figsize=(max(6, 4.2 * len(models)), 4.5))
    for axis, (name, model) in zip(figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True):
        edges, most = model['bin_edges'], max(model['counts'])
        for i, (count, accuracy, confidence) in enumerate(
            zip(model['counts'], model['accuracy'], model['confidence'], strict=True)
        ):
            if count:
                width, alpha = edges[i + 1] - edges[i], 0.25 + 0.75 * count / most
                axis.bar(edges[i], accuracy, width, align='edge', color='C0', alpha=alpha, edgecolor='white')
                axis.plot([confidence] * 2, sorted([accuracy, confidence]), color='C3', linewidth=1)
        axis.plot([0, 1], [0, 1], color='grey', linestyle='--', linewidth=1)
        title = f'{name}: ECE {model["ece"]:.2f} %'
        axis.set(title=title, xlabel='confidence', ylabel='accuracy', xlim=(0, 1), ylim=(0, 1))
        axis.grid(alpha=0.3)
    return figure


if __name__ == '__main__':
    exit_on_input_error(main)
