#!/usr/bin/env python
"""Several checkpoints in one table and picture: accuracy, calibration, features, corruptions, attack, mixed images."""

from collections.abc import Callable

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.evaluation import (
    calibration,
    corruption_errors,
    fgsm_top1,
    mean_corruption_error,
    miss_rates,
    probe,
)
from mixskd_mm.evaluation.tool import (
    add_corruption_arguments,
    add_probe_arguments,
    analysis_parser,
    describe,
    draw_bars,
    load_models,
    markdown_table,
    read_severities,
    write_results,
)

# Of each measure: the columns that it fills.
MEASURES = {
    'calibration': {'top1': 'top-1 (%)', 'ece': 'ECE (%)', 'nll': 'NLL (nats)'},
    'probe': {'knn': 'kNN top-1 (%)', 'linear_probe': 'linear probe top-1 (%)'},
    'miss-rate': {'miss_rate': 'miss rate at lam 0.5 (%)'},
    'fgsm': {'fgsm': 'top-1 under FGSM, eps 0.01 (%)'},
    'corruptions': {'corruption_error': 'corruption error (%)'},
}


def main() -> None:
    parser = analysis_parser(__doc__, 'compare')
    parser.add_argument(
        '--measures',
        nargs='+',
        choices=MEASURES,
        default=['calibration', 'probe', 'miss-rate', 'fgsm'],
        metavar='MEASURE',
        help=f'of {", ".join(MEASURES)} (default: all but corruptions, which take 75 passes over the test images)',
    )
    parser.add_argument('--seed', type=int, default=0, help='determines the pairs of the miss rate (default: 0)')
    add_probe_arguments(parser)
    add_corruption_arguments(parser)
    args = parser.parse_args()
    severities = read_severities(args)
    classifiers = load_models(args)

    def corruption_error(classifier) -> dict[str, float]:
        errors = corruption_errors(classifier, args.corruptions, severities, args.archive)
        return dict(corruption_error=mean_corruption_error(errors))

    measure: dict[str, Callable] = {
        'calibration': calibration,
        'probe': lambda classifier: probe(classifier, args.k, args.train_images),
        'miss-rate': lambda classifier: dict(miss_rate=miss_rates(classifier, [0.5], args.seed)[0]),
        'fgsm': lambda classifier: dict(fgsm=fgsm_top1(classifier, [0.01])[0]),
        'corruptions': corruption_error,
    }
    chosen = [name for name in MEASURES if name in args.measures]
    columns = {key: title for name in chosen for key, title in MEASURES[name].items()}
    results = describe(args, classifiers, columns=columns)
    for classifier in classifiers:
        for name in chosen:
            numbers = measure[name](classifier)
            results['models'][classifier.name].update({key: numbers[key] for key in MEASURES[name]})
    models = results['models']
    print(f'{results["images"]} test images')
    rows = [(name, *(model[key] for key in columns)) for name, model in models.items()]
    print(markdown_table(['model', *columns.values()], rows))
    figure = Figure(figsize=(max(6, 2.6 * len(columns)), 4.2))
    draw_bars(figure, {title: {name: model[key] for name, model in models.items()} for key, title in columns.items()})
    write_results(args.out, 'compare', results, figure)


if __name__ == '__main__':
    exit_on_input_error(main)
