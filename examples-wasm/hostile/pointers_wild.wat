;; Hands the host pointers and lengths beyond its memory, one kind after another; traps unless each
;; call answers with an error. A host may also end it.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get"
    (func $random_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "path_open"
    (func $path_open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read"
    (func $fd_read (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func $must_fail (param i32)
    (if (i32.eqz (local.get 0)) (then unreachable)))
  (func (export "_start")
    ;; One vector at 0 that points to the end of the address space.
    (i32.store (i32.const 0) (i32.const -16))
    (i32.store (i32.const 4) (i32.const 4096))
    (call $must_fail (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
    (call $must_fail (call $fd_read (i32.const 0) (i32.const -8) (i32.const 1) (i32.const 8)))
    (call $must_fail (call $random_get (i32.const 65535) (i32.const 2)))
    (call $must_fail (call $path_open
      (i32.const 3) (i32.const 0) (i32.const 65530) (i32.const -1)
      (i32.const 0) (i64.const 0) (i64.const 0) (i32.const 0) (i32.const 16)))))
