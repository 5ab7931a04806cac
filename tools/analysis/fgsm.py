#!/usr/bin/env python
"""Top-1 accuracy under the FGSM white-box attack (MixSKD, Table 5, left)."""

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.evaluation import fgsm_top1
from mixskd_mm.evaluation.tool import (
    analysis_parser,
    describe,
    draw_lines,
    load_models,
    markdown_table,
    read_numbers,
    write_results,
)


def main() -> None:
    parser = analysis_parser(__doc__, 'fgsm')
    parser.add_argument(
        '--eps',
        nargs='+',
        default=['0', '0.0001', '0.001', '0.01', '0.1'],
        metavar='EPS',
        help="perturbations, in image values from 0 to 1 (default: 0 and Table 5's)",
    )
    args = parser.parse_args()
    epsilons = read_numbers('--eps', args.eps)
    classifiers = load_models(args)
    results = describe(args, classifiers, epsilons=epsilons)
    for classifier in classifiers:
        results['models'][classifier.name]['top1'] = fgsm_top1(classifier, epsilons)
    top1 = {name: model['top1'] for name, model in results['models'].items()}
    print(f'Top-1 accuracy (%) under FGSM, {results["images"]} images; eps in image values from 0 to 1')
    print(markdown_table(['eps', *top1], list(zip(epsilons, *top1.values(), strict=True))))
    write_results(args.out, 'fgsm', results, draw(epsilons, top1))


def draw(epsilons: list[float], top1: dict[str, list[float]]) -> Figure:
    figure = Figure(figsize=(6, 4.5))
    axis = figure.subplots()
    draw_lines(axis, epsilons, top1, title='FGSM', xlabel='eps (image values from 0 to 1)', ylabel='top-1 (%)')
    positive = [epsilon for epsilon in epsilons if epsilon > 0]
    if positive:
        # Logarithmic, with a place for 0.
        axis.set_xscale('symlog', linthresh=positive[0])
    return figure


if __name__ == '__main__':
    exit_on_input_error(main)
