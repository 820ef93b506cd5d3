"""Training: dual-regime data, distillation, cold start and Step-SRPO."""
