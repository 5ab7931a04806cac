#!/usr/bin/env python
"""How far features and predictions of Mixup images are from the interpolated ones (MixSKD, Eq. 6, 7, 9 and 10)."""

import statistics

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.evaluation import linearity
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

DIVERGENCES = {
    'kl_interpolated_mixed': 'KL(interpolated ‖ mixed)',
    'kl_mixed_interpolated': 'KL(mixed ‖ interpolated)',
}


def main() -> None:
    parser = analysis_parser(__doc__, 'linearity')
    add_pair_arguments(parser)
    args = parser.parse_args()
    lams = read_numbers('--lams', args.lams, highest=1)
    classifiers = load_models(args)
    results = describe(args, classifiers, seed=args.seed, lams=lams)
    for classifier in classifiers:
        results['models'][classifier.name].update(linearity(classifier, lams, args.seed))
    models = results['models']
    print(f'Distance between interpolated and mixed outputs, {results["images"]} pairs, mean over {len(lams)} lam')
    print(markdown_table(['distance', *models], table_rows(list(models.values()))))
    write_results(args.out, 'linearity', results, draw(lams, models))


def table_rows(models: list[dict]) -> list[list]:
    """Means over lam; models may have different numbers of stages."""
    rows = []
    deepest = max((model['stages'] for model in models), key=len)
    for stage in deepest:
        measured = [model['stages'].get(stage) for model in models]
        rows.append([f'{stage}, relative', *(statistics.mean(m['relative']) if m else '-' for m in measured)])
    for key, title in DIVERGENCES.items():
        rows.append([f'{title}, nats', *(statistics.mean(model[key]) for model in models)])
    return rows


def draw(lams: list[float], models: dict[str, dict]) -> Figure:
    figure = Figure(figsize=(15, 4.5))
    stages, last, kl = figure.subplots(1, 3)
    for name, model in models.items():
        means = [statistics.mean(stage['relative']) for stage in model['stages'].values()]
        # Aligned at F_K, which all have.
        stages.plot(range(1 - len(means), 1), means, marker='o', markersize=4, label=name)
    deepest = max((list(model['stages']) for model in models.values()), key=len)
    stages.set(title='Feature maps, mean over lam', xlabel='stage', ylabel='relative distance')
    stages.set_xticks(range(1 - len(deepest), 1), deepest)
    stages.legend(fontsize=8)
    stages.grid(alpha=0.3)
    relative = {name: model['stages']['F_K']['relative'] for name, model in models.items()}
    draw_lines(last, lams, relative, title='F_K', xlabel='lam', ylabel='relative distance')
    divergences = {name: model['kl_mixed_interpolated'] for name, model in models.items()}
    draw_lines(kl, lams, divergences, title=DIVERGENCES['kl_mixed_interpolated'], xlabel='lam', ylabel='nats')
    return figure


if __name__ == '__main__':
    exit_on_input_error(main)
