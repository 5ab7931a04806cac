_base_ = ['voc12aug.py', 'segmentation_pipelines_paper.py']

train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                type={{_base_.dataset_type}},
                data_root={{_base_.data_root}},
                data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
                ann_file='ImageSets/Segmentation/train.txt',
                pipeline={{_base_.paper_train_pipeline}},
            ),
            dict(
                type={{_base_.dataset_type}},
                data_root={{_base_.data_root}},
                data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
                ann_file='ImageSets/Segmentation/aug.txt',
                pipeline={{_base_.paper_train_pipeline}},
            ),
        ]
    )
)
val_dataloader = dict(dataset=dict(pipeline={{_base_.paper_test_pipeline}}))
test_dataloader = val_dataloader

# Also the paper's mean, over all classes.
val_evaluator = dict(type='AllClassIoUMetric')
test_evaluator = val_evaluator
