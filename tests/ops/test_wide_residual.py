from suite import OpSuite


class TestWideResidual(OpSuite):
    op = "wide_residual"
