"""Our own checkpoint: per parameter, whatever the ZeRO stage and world size; whole or absent.

    checkpoints/step-00000100/
        rank-00000.safetensors   what that rank held, and its random states
        rank-00000.json          addresses of that, digest and size
        manifest.json            the run's state, digests and sizes of all files; written last
        .step-00000150.<token>.partial, .removed   being written, being removed; swept at start

`fragments` says what goes in and comes out, `writer` saves while training goes on, `stored` reads,
`merge` makes whole weights, `signals` asks a run to stop.
"""
