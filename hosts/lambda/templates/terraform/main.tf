# Dayfly on AWS Lambda: one function that is every replica, its URL, and a schedule that keeps replicas awake.
#
#   cargo xtask package lambda
#   cd hosts/lambda/templates/terraform && terraform init && terraform apply -var broker_secret=dayfly-broker
#
# hosts/lambda/README.md tells how to get a broker, what the schedule guarantees, and what all this costs.

terraform {
  required_version = ">= 1.5"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # Earlier ones do not know `invoked_via_function_url`.
      version = ">= 6.28"
    }
  }
}

locals {
  zip = coalesce(var.zip, "${path.module}/../../../../target/lambda/dayfly-lambda-${var.architecture}.zip")
}

# Terraform writes what it reads into its state: keep the state where only those may read it who may read the secret.
data "aws_secretsmanager_secret_version" "broker" {
  secret_id = var.broker_secret
}

resource "aws_lambda_function" "replica" {
  function_name    = var.name
  filename         = local.zip
  source_code_hash = filebase64sha256(local.zip)
  runtime          = "provided.al2023"
  handler          = "bootstrap"
  architectures    = [var.architecture]
  memory_size      = var.memory_mib
  role             = aws_iam_role.replica.arn

  # The longest wake_seconds, and time to say goodbye. An invocation ends when the replica is frozen, not later.
  timeout = 180

  # -1 is no bound.
  reserved_concurrent_executions = var.concurrency

  environment {
    variables = {
      DAYFLY_BROKER    = data.aws_secretsmanager_secret_version.broker.secret_string
      DAYFLY_CLUSTER   = var.cluster
      DAYFLY_LINGER    = var.linger
      DAYFLY_STORE_MIB = tostring(var.store_mib)
    }
  }

  logging_config {
    log_format = "Text"
    log_group  = aws_cloudwatch_log_group.replica.name
  }
}

# The next minute brings the next wake; one that is late is of no use.
resource "aws_lambda_function_event_invoke_config" "replica" {
  function_name                = aws_lambda_function.replica.function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 60
}

resource "aws_lambda_function_url" "replica" {
  function_name      = aws_lambda_function.replica.function_name
  authorization_type = var.auth_type
  invoke_mode        = "BUFFERED"
}

# A URL without authorisation asks for both: may everyone use the URL, and may they invoke the function by it.
resource "aws_lambda_permission" "use_url" {
  count = var.auth_type == "NONE" ? 1 : 0

  function_name          = aws_lambda_function.replica.function_name
  principal              = "*"
  action                 = "lambda:InvokeFunctionUrl"
  function_url_auth_type = "NONE"
}

resource "aws_lambda_permission" "invoke_by_url" {
  count = var.auth_type == "NONE" ? 1 : 0

  function_name            = aws_lambda_function.replica.function_name
  principal                = "*"
  action                   = "lambda:InvokeFunction"
  invoked_via_function_url = true
}

resource "aws_cloudwatch_log_group" "replica" {
  name              = "/aws/lambda/${var.name}"
  retention_in_days = 14
}

# It may write its log, and nothing else: all other things go over the broker's own connection.
resource "aws_iam_role" "replica" {
  name = "${var.name}-replica"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "log" {
  name = "log"
  role = aws_iam_role.replica.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
      Resource = "${aws_cloudwatch_log_group.replica.arn}:*"
    }]
  })
}
