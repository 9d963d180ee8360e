from suite import OpSuite


class TestGatedResidual(OpSuite):
    op = "gated_residual"
