;; Starts threads for ever, each of which starts threads for ever.
(module
  (import "env" "memory" (memory 1 1 shared))
  (import "wasi" "thread-spawn" (func $spawn (param i32) (result i32)))
  (export "memory" (memory 0))
  (func $bomb
    (loop $again
      (drop (call $spawn (i32.const 0)))
      (br $again)))
  (func (export "wasi_thread_start") (param i32 i32) (call $bomb))
  (func (export "_start") (call $bomb)))
