"""DeepSpeed as this project uses it: one optimizer step at a time, whatever the ZeRO stage."""
