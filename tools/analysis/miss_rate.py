#!/usr/bin/env python
"""Miss rate on Mixup images, whose prediction is neither of their two labels (MixSKD, Figure 3b)."""

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.evaluation import miss_rates
from mixskd_mm.evaluation.tool import (
    add_pair_arguments,
    analysis_parser,
    describe,
    draw_lines,
    load_models,
    markdown_table,
    read_numbers,
    write_results,
)


def main() -> None:
    parser = analysis_parser(__doc__, 'miss_rate')
    add_pair_arguments(parser)
    args = parser.parse_args()
    lams = read_numbers('--lams', args.lams, highest=1)
    classifiers = load_models(args)
    results = describe(args, classifiers, seed=args.seed, lams=lams)
    for classifier in classifiers:
        results['models'][classifier.name]['miss_rate'] = miss_rates(classifier, lams, args.seed)
    rates = {name: model['miss_rate'] for name, model in results['models'].items()}
    print(f'Miss rate (%) on lam x_i + (1 - lam) x_j, {results["images"]} pairs')
    print(markdown_table(['lam', *rates], list(zip(lams, *rates.values(), strict=True))))
    figure = Figure(figsize=(6, 4.5))
    draw_lines(
        figure.subplots(), lams, rates, title='Prediction outside {y_i, y_j}', xlabel='lam', ylabel='miss rate (%)'
    )
    write_results(args.out, 'miss_rate', results, figure)


if __name__ == '__main__':
    exit_on_input_error(main)
