# ResNet-50 on images of one's own, 1 GPU x 32 images, with MixSKD: --cfg-options data_root=/my/images
_base_ = 'baseline_r50_folder.py'

model = dict(
    type='MixSKDClassifier',
    temperature=3.0,  # T, Eq. (10) and (12)
    clean_weight=2.0,  # Eq. (5): x_i and x_j
    feature_weight=1.0,  # beta, Eq. (13)
    dis_weight=1.0,  # gamma
    logit_weight=dict(b_logit=1.0, cls_h=1.0, f_logit=1.0),  # mu, of each term
    recompute_stages=[1],
)
data_preprocessor = dict(type='MixupDataPreprocessor', alpha=0.2)
