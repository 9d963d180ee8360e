"""``python -m awsrn_fast.evaluate``: PSNR and SSIM of a network, or of bicubic, on benchmark sets."""
