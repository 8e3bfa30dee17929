;; A guest of the replica's world that asks for the log until it was told its end, and counts what it is given of it.
;; It answers each request with the status 200 + the number of bodies, + 2000 once it was told the end.
;; Its memory is zero, and zero reads as the emptiest result of every call, but for what is stored below.
(module
  (memory (export "memory") 64)
  (global $bodies (mut i32) (i32.const 0))
  (global $ended (mut i32) (i32.const 0))

  ;; A bump allocator that is emptied by each call that used it.
  (global $top (mut i32) (i32.const 4096))
  (func $realloc (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (local $place i32)
    (local.set $place (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
    (global.set $top (i32.add (local.get $place) (local.get 3)))
    (local.get $place))

  ;; Effects at 1024: `replay` is their byte 27.
  (func $effects (result i32)
    (global.set $top (i32.const 4096))
    (i32.store8 (i32.const 1051) (i32.eqz (global.get $ended)))
    (i32.const 1024))

  (func (export "dayfly:replica/lifecycle@0.1.0#start") (param i32) (result i32)
    (global.set $top (i32.const 4096))
    (i32.const 1104))
  (func (export "dayfly:replica/lifecycle@0.1.0#wake") (param i64) (result i32) (call $effects))
  (func (export "dayfly:replica/lifecycle@0.1.0#tick") (result i32) (call $effects))
  (func (export "dayfly:replica/lifecycle@0.1.0#suspend") (result i32) (call $effects))
  (func (export "dayfly:replica/lifecycle@0.1.0#leave") (result i32) (call $effects))
  (func (export "dayfly:replica/inbox@0.1.0#receive") (param i32 i32) (result i32) (call $effects))
  (func (export "dayfly:replica/outbox@0.1.0#settle") (param i32 i32) (result i32) (call $effects))

  ;; A response at 1200: its effects begin at byte 40.
  (func (export "dayfly:replica/api@0.1.0#invoke")
    (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
    (global.set $top (i32.const 4096))
    (i32.store8 (i32.const 1267) (i32.eqz (global.get $ended)))
    (i32.store16 (i32.const 1200)
      (i32.add (i32.add (i32.const 200) (global.get $bodies)) (i32.mul (global.get $ended) (i32.const 2000))))
    (i32.const 1200))

  (func (export "dayfly:replica/checkpoint@0.1.0#save") (param i64) (result i32) (i32.const 1400))
  (func (export "dayfly:replica/checkpoint@0.1.0#load") (param i32 i32) (result i32) (i32.const 1504))

  (func (export "dayfly:replica/checkpoint@0.1.0#replay") (param i32 i32 i32) (result i32)
    (global.set $bodies (i32.add (global.get $bodies) (local.get 1)))
    (global.set $ended (i32.or (global.get $ended) (local.get 2)))
    (call $effects)))
