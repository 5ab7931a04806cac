#!/usr/bin/env python
"""Top-1 accuracy of k nearest neighbours and of a linear classifier on a backbone's frozen features.

CHECKPOINT may be a checkpoint, an export of it, or torchvision's weights of the config's ResNet in a file.
"""

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.evaluation import probe
from mixskd_mm.evaluation.probe import BACKBONE
from mixskd_mm.evaluation.tool import (
    add_probe_arguments,
    analysis_parser,
    describe,
    draw_bars,
    load_models,
    markdown_table,
    write_results,
)

COLUMNS = {'knn': 'kNN top-1 (%)', 'linear_probe': 'linear probe top-1 (%)'}


def main() -> None:
    parser = analysis_parser(__doc__, 'probe')
    add_probe_arguments(parser)
    args = parser.parse_args()
    classifiers = load_models(args, BACKBONE)
    results = describe(args, classifiers, k=args.k, train_images=args.train_images)
    for classifier in classifiers:
        results['models'][classifier.name].update(probe(classifier, args.k, args.train_images))
    models = results['models']
    print(f'Frozen features of the backbone, {results["images"]} test images, k={args.k}')
    rows = [(name, *(model[key] for key in COLUMNS)) for name, model in models.items()]
    print(markdown_table(['model', *COLUMNS.values()], rows))
    figure = Figure(figsize=(9, 4.5))
    draw_bars(figure, {title: {name: model[key] for name, model in models.items()} for key, title in COLUMNS.items()})
    write_results(args.out, 'probe', results, figure)


if __name__ == '__main__':
    exit_on_input_error(main)
