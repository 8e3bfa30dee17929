# The keeper without a machine. EventBridge's finest rate is a minute, and it may be up to a minute late.

resource "aws_scheduler_schedule" "wake" {
  count = var.awake

  name                = "${var.name}-wake-${count.index}"
  state               = var.keep_awake ? "ENABLED" : "DISABLED"
  schedule_expression = "rate(1 minute)"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.replica.arn
    role_arn = aws_iam_role.keeper.arn
    input    = jsonencode({ wake = { seconds = var.wake_seconds } })

    retry_policy {
      maximum_retry_attempts       = 0
      maximum_event_age_in_seconds = 60
    }
  }
}

data "aws_caller_identity" "current" {}

# It may invoke this function, and nothing else.
resource "aws_iam_role" "keeper" {
  name = "${var.name}-keeper"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "wake" {
  name = "wake"
  role = aws_iam_role.keeper.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = "lambda:InvokeFunction"
      Resource = aws_lambda_function.replica.arn
    }]
  })
}
