"""Validation, estimation, editing (VEE, 数据校核与拟合): what of a day's curve can be believed, and what may stand where nothing was read.

facts -> rules/ (one a file) -> verdicts        a rule looks and tells; it prints, raises and mends nothing
curve -> methods/ (one a file) -> estimates     each value with the method that made it; what cannot be estimated stays missing, and why
"""
