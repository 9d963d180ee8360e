from suite import OpSuite


class TestWideResidualOnHost(OpSuite):
    op = "wide_residual"
