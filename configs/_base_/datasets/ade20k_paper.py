_base_ = ['ade20k.py', 'segmentation_pipelines_paper.py']

train_dataloader = dict(dataset=dict(pipeline={{_base_.paper_train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.paper_test_pipeline}}))
test_dataloader = val_dataloader

# Also the paper's mean, over all classes.
val_evaluator = dict(type='AllClassIoUMetric')
test_evaluator = val_evaluator
