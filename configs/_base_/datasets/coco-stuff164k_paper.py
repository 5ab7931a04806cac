# COCO-Stuff's own pixel maps, *.png, with ids 0 to 181. 11 of the 182 never occur: docs/transfer.md.
_base_ = ['coco-stuff164k.py', 'segmentation_pipelines_paper.py']

dataset_type = 'COCOStuff182Dataset'
train_dataloader = dict(dataset=dict(type=dataset_type, pipeline={{_base_.paper_train_pipeline}}))
val_dataloader = dict(dataset=dict(type=dataset_type, pipeline={{_base_.paper_test_pipeline}}))
test_dataloader = val_dataloader

# Also the paper's mean, over all classes.
val_evaluator = dict(type='AllClassIoUMetric')
test_evaluator = val_evaluator
