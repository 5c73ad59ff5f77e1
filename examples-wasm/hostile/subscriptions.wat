;; Polls 1,300,000 subscriptions at once, each a clock that never rings: what a host allocates for
;; each is the guest's to choose. Traps once it is refused.
(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1700)
  (global $count i32 (i32.const 1300000))
  (func (export "_start")
    (local $i i32)
    ;; Subscription: user data at 0, kind at 8 (0: clock), clock at 16, time-out at 24.
    (loop $next
      (i64.store offset=24
        (i32.mul (local.get $i) (i32.const 48))
        (i64.const 0x0FFFFFFFFFFFFFFF))
      (i32.store offset=16 (i32.mul (local.get $i) (i32.const 48)) (i32.const 1))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $next (i32.lt_u (local.get $i) (global.get $count))))
    (drop (call $poll_oneoff
      (i32.const 0)
      (i32.const 65536000)
      (global.get $count)
      (i32.const 65535996)))
    unreachable))
