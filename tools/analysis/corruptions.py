#!/usr/bin/env python
"""Top-1 error on common corruptions: CIFAR-C's and ImageNet-C's archives, or their corruptions of the test images."""

import statistics

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.evaluation import corruption_errors, mean_corruption_error, relative_to_alexnet
from mixskd_mm.evaluation.tool import (
    add_corruption_arguments,
    analysis_parser,
    describe,
    load_models,
    markdown_table,
    read_severities,
    write_results,
)


def main() -> None:
    parser = analysis_parser(__doc__, 'corruptions')
    add_corruption_arguments(parser)
    args = parser.parse_args()
    severities = read_severities(args)
    classifiers = load_models(args)
    results = describe(args, classifiers, severities=severities, archive=args.archive)
    for classifier in classifiers:
        errors = corruption_errors(classifier, args.corruptions, severities, args.archive)
        results['models'][classifier.name].update(
            errors=errors, mean_corruption_error=mean_corruption_error(errors), mce=relative_to_alexnet(errors)
        )
    models = results['models']
    source = args.archive or 'made by imagecorruptions'
    print(f'Top-1 error (%), {results["images"]} images, mean over severities {severities}; images: {source}')
    rows = [[name, *(statistics.mean(m['errors'][name]) for m in models.values())] for name in args.corruptions]
    rows.append(['**mean**', *(m['mean_corruption_error'] for m in models.values())])
    if all(m['mce'] is not None for m in models.values()):
        rows.append(["mCE, relative to AlexNet's errors on ImageNet-C", *(m['mce'] for m in models.values())])
    print(markdown_table(['corruption', *models], rows))
    write_results(args.out, 'corruptions', results, draw(models, args.corruptions))


def draw(models: dict[str, dict], corruptions: list[str]) -> Figure:
    """Bars of one colour a model, side by side for each corruption."""
    figure = Figure(figsize=(max(6, 1 + 0.75 * len(corruptions)), 4.8))
    axis = figure.subplots()
    width = 0.8 / len(models)
    for n, (name, model) in enumerate(models.items()):
        heights = [statistics.mean(model['errors'][one]) for one in corruptions]
        places = [i + (n - (len(models) - 1) / 2) * width for i in range(len(corruptions))]
        axis.bar(places, heights, width, label=f'{name}: mean {model["mean_corruption_error"]:.2f} %')
    labels = [name.replace('_', ' ') for name in corruptions]
    axis.set_xticks(range(len(corruptions)), labels, rotation=45, ha='right', fontsize=8)
    axis.set(title='Common corruptions, mean over severities', ylabel='top-1 error (%)')
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3, axis='y')
    return figure


if __name__ == '__main__':
    exit_on_input_error(main)
