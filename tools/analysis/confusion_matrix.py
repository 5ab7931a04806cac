#!/usr/bin/env python
"""Which classes are taken for which: mmpretrain's confusion matrix, and the pairs that are confused most."""

from matplotlib.figure import Figure

from mixskd_mm.cli import exit_on_input_error
from mixskd_mm.evaluation import confusion_matrix, most_confused
from mixskd_mm.evaluation.tool import (
    analysis_parser,
    class_names_of,
    describe,
    load_models,
    markdown_table,
    write_results,
)


def main() -> None:
    args = analysis_parser(__doc__, 'confusion_matrix').parse_args()
    classifiers = load_models(args)
    names = class_names_of(classifiers[0])
    results = describe(args, classifiers, classes=names)
    for classifier in classifiers:
        matrix = confusion_matrix(classifier, len(names))
        pairs = [dict(label=names[i], predicted=names[j], images=count) for i, j, count in most_confused(matrix)]
        results['models'][classifier.name].update(matrix=matrix.tolist(), most_confused=pairs)
    print(f'What is confused most, {results["images"]} images')
    rows = [(name, *pair.values()) for name, model in results['models'].items() for pair in model['most_confused']]
    print(markdown_table(['model', 'label', 'predicted', 'images'], rows))
    write_results(args.out, 'confusion_matrix', results, draw(results['models'], names))


def draw(models: dict[str, dict], names: list[str]) -> Figure:
    """One panel a model: rows are labels, each normalised to 1."""
    figure = Figure(figsize=(5.8 * len(models), 5.4))
    for axis, (title, model) in zip(figure.subplots(1, len(models), squeeze=False)[0], models.items(), strict=True):
        shares = [[cell / max(1, sum(row)) for cell in row] for row in model['matrix']]
        image = axis.imshow(shares, vmin=0, vmax=1, interpolation='nearest')
        axis.set(title=title, xlabel='predicted', ylabel='label')
        if len(names) <= 40:
            axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
            axis.set_yticks(range(len(names)), names, fontsize=7)
        if len(names) <= 12:
            for i, row in enumerate(model['matrix']):
                for j, count in enumerate(row):
                    colour = 'black' if shares[i][j] > 0.5 else 'white'
                    axis.text(j, i, count, ha='center', va='center', fontsize=7, color=colour)
        figure.colorbar(image, ax=axis, fraction=0.046)
    return figure


if __name__ == '__main__':
    exit_on_input_error(main)
