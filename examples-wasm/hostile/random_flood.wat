;; Asks for a gibibyte of random bytes in one call, over and over. Traps once it is refused.
(module
  (import "wasi_snapshot_preview1" "random_get"
    (func $random_get (param i32 i32) (result i32)))
  (memory (export "memory") 16384)
  (func (export "_start")
    (loop $again
      (br_if $again (i32.eqz (call $random_get (i32.const 0) (i32.const 0x3FFFFFFF)))))
    unreachable))
